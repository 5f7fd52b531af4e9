// Who is there now, for members that come and go by the thousand a second.
//
// Not a Set: one that many pass through outgrows its table again and again, and each old table points
// to the next one and holds who was in it. Once one of them is old, all later ones outlive the quick
// collections: a fifth of what HTTP requests allocate did.

/** Where a member stands, kept by the roll. */
export interface Member {
  place: number;
}

export class Roll<T extends Member> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** A member that is not on any roll. */
  add(member: T): void {
    member.place = this.#members.push(member) - 1;
  }

  /** A member of this roll. */
  delete(member: T): void {
    const last = this.#members.pop();
    if (last === undefined || last === member) return;
    this.#members[member.place] = last;
    last.place = member.place;
  }

  /** Calls `visit` for everybody who stays meanwhile; whoever leaves meanwhile may be left out. */
  each(visit: (member: T) => void): void {
    for (let place = this.#members.length - 1; place >= 0; place -= 1) {
      const member = this.#members[place];
      if (member !== undefined) visit(member);
    }
  }
}
