// A fleet's page has an overview and a page for each device, in the part of the address that no server sees, so that the
// browser's own back, bookmarks and new tabs work.

/** The address of a device's page. */
export const addressOf = (device: string): string => `#/device/${encodeURIComponent(device)}`;

/** The device whose page an address is of; `null`: the overview. */
export function deviceIn(hash: string): string | null {
  const match = /^#\/device\/([^/]+)$/.exec(hash);
  if (!match) return null;
  try {
    const name = decodeURIComponent(match[1] as string);
    return name === '+' || name === '#' ? null : name; // A wildcard would ask for all of them.
  } catch {
    return null; // Half an escape: nobody's name.
  }
}
