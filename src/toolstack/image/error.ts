// What a person gave as a kernel and cannot be used as one.

/** The message is one clear sentence about the file, fit to be printed as it is. */
export class ImageError extends Error {
  constructor(problem: string, options?: ErrorOptions) {
    super(problem, options);
    this.name = 'ImageError';
  }
}
