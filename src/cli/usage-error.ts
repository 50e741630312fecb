// What a person gave the command line and it cannot use. The message is one sentence; the exit status is 2.

export class UsageError extends Error {
  constructor(problem: string, options?: ErrorOptions) {
    super(problem, options);
    this.name = 'UsageError';
  }
}
