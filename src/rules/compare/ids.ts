// Ids that each service makes up for itself: which of legacy's is which of the candidate's.

/** One user's generated ids, shared by his sessions. */
export class IdClasses {}
