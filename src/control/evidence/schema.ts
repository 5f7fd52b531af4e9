// The tables that evidence is kept in, as steps from one version to the next.
import type { DatabaseSync } from 'node:sqlite';

/** Step n makes version n + 1 (`PRAGMA user_version`); steps that were released are never changed. */
const STEPS: readonly string[] = [
  `
  CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    route TEXT NOT NULL,
    event_type TEXT NOT NULL,
    verdict TEXT NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    UNIQUE (route, event_type, verdict, kind, path)
  ) STRICT;
  CREATE INDEX groups_last_at ON groups (last_at);

  CREATE TABLE examples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    finding TEXT NOT NULL
  ) STRICT;
  CREATE INDEX examples_at ON examples (at);

  CREATE TABLE memberships (
    group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    example_id INTEGER NOT NULL REFERENCES examples ON DELETE CASCADE,
    PRIMARY KEY (group_id, example_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX memberships_example ON memberships (example_id);

  -- Runs or sessions that ended, by hour; the empty type stands for the route as a whole.
  CREATE TABLE units (
    route TEXT NOT NULL,
    event_type TEXT NOT NULL,
    hour INTEGER NOT NULL,
    units INTEGER NOT NULL,
    diverged INTEGER NOT NULL,
    PRIMARY KEY (route, event_type, hour)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX units_hour ON units (hour);
  `,
  `
  -- Runs apart from sessions. What was counted before holds both: as sessions it stands until runs are known.
  ALTER TABLE units RENAME TO mixed_units;
  DROP INDEX units_hour;
  CREATE TABLE units (
    route TEXT NOT NULL,
    event_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    hour INTEGER NOT NULL,
    units INTEGER NOT NULL,
    diverged INTEGER NOT NULL,
    PRIMARY KEY (route, event_type, kind, hour)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX units_hour ON units (hour);
  INSERT INTO units SELECT route, event_type, 'session', hour, units, diverged FROM mixed_units;
  DROP TABLE mixed_units;
  `,
  `
  -- When units were last counted anew (epoch ms); the empty route stands for every route.
  CREATE TABLE IF NOT EXISTS restarts (
    route TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
];

/** The file was made by a later version of this program. */
export class NewerSchema extends Error {}

/** Brings a database to the present version. Throws `NewerSchema`, or what SQLite does. */
export function migrate(database: DatabaseSync): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.user_version);
  if (version > STEPS.length) throw new NewerSchema(`version ${version}`);
  for (const [index, step] of STEPS.entries()) {
    if (index < version) continue;
    // PRAGMA takes no parameter; the number is ours.
    database.exec(`BEGIN IMMEDIATE; ${step} PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}
