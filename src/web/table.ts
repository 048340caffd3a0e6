// Units and names come from outside the board, and every object answers to a few that nobody gave it: `constructor`,
// `__proto__`.

/** What a table of ours says under this name. */
export function look<T>(table: Readonly<Record<string, T>>, name: string | undefined): T | undefined {
  return name !== undefined && Object.prototype.hasOwnProperty.call(table, name) ? table[name] : undefined;
}
