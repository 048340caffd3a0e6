// A fleet's page has an overview and a page for each device, in the part of the address that no server sees, so that the
// browser's own back, bookmarks and new tabs work.

/** The address of a device's page. */
export const addressOf = (device: string): string => `#/device/${encodeURIComponent(device)}`;

/**
 * The device whose page an address is of; `null`: the overview. What is no device's name is nobody's page: a `+` would
 * ask for all of them.
 */
export function deviceIn(hash: string): string | null {
  const match = /^#\/device\/([A-Za-z0-9._-]{1,64})$/.exec(hash);
  return match ? (match[1] as string) : null;
}
