/** Something that was asked of the board was not done. */
export class BoardcastError extends Error {
  override readonly name = 'BoardcastError';

  /**
   * @param code the board's own (`bad_filter`, `not_allowed`, …), `offline` when there is no connection, `lost` when it
   *   ended before the answer came, `closed` after `close()`, or `http_404` and its kin
   */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}
