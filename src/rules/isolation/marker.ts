/**
 * A string that was planted in what one user sends, and that nobody else may be sent. Letters and digits
 * alone, so that there is one way to write it; all that are known at a time are as long and begin alike.
 */
export interface Marker {
  readonly text: string;
  readonly user: string;
}
