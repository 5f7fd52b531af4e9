// Room for all messages that wait for their end before they are looked into.

/** Of all that are held at a time; 64 messages of the longest kind. */
const MOST_BYTES = 64 * 1_048_576;

export class HeldRoom {
  bytes = 0;

  /** `bytes` more are held, or fewer where it is negative. False: there is no room for them. */
  change(bytes: number): boolean {
    if (bytes > 0 && this.bytes + bytes > MOST_BYTES) return false;
    this.bytes += bytes;
    return true;
  }
}
