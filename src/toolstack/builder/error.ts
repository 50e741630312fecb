// What a person gave a domain builder that no domain can be made of. The message is one sentence for that person.
export class BuildError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BuildError';
  }
}
