/**
 * What a daemon that follows another one, an edge, did not get from there itself. Of what the other one did not get its stream
 * `outages` tells, as everywhere.
 *
 * @module way
 */

/** @typedef {import('./flowd-client.js').FlowdClient} FlowdClient */
/** @typedef {{component: string, from_ms: number, to_ms: number | null, reason?: unknown, recovered?: number | null}} Outage */

export class Way {
  /** By key. @type {Map<string, Outage>} */
  outages = new Map();

  /**
   * @param {Partial<Pick<FlowdClient, 'follow'>>} client
   * @param {string | undefined} stream that tells of it; none where a daemon follows no other
   * @param {() => void} changed
   */
  constructor(client, stream, changed) {
    if (!stream || !client.follow) return;
    client.follow(stream, {}, {
      records: (records, { first }) => {
        if (first) this.outages.clear();
        for (const { key, value } of records) this.outages.set(key ?? '', /** @type {Outage} */ (/** @type {unknown} */ (value)));
        changed();
      },
    });
  }

  /** The outage that lasts, if one does. @returns {Outage | null} */
  get open() {
    return [...this.outages.values()].find(({ to_ms }) => to_ms === null) ?? null;
  }

  /** Why nothing comes, null where it does. @returns {string | null} */
  get cut() {
    const open = this.open;
    return open && `${open.component} brings nothing of what others deliver: ${open.reason || 'nobody knows why'}`;
  }

  /** These outages, and those of the way as each of these components has them, for it brings them all. @param {Iterable<any>} outages @param {string[]} components */
  with(outages, components) {
    const own = [...this.outages.values()];
    return [...outages, ...components.flatMap((component) => own.map((outage) => ({ ...outage, component })))];
  }
}
