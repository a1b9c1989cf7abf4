// Pictures of the collection: fetched with the token, shown under blob: addresses that are revoked when they are gone.

const AT_ONCE = 8;
let running = 0;
const waiting = [];

async function inTurn(task) {
  if (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  running++;
  try {
    return await task();
  } finally {
    running--;
    waiting.shift()?.();
  }
}

// The pictures of one list of images; `clear` before the next list.
export class Thumbnails {
  constructor(api) {
    Object.assign(this, { api, addresses: new Map(), stop: new AbortController() });
  }

  // A promise of the address of a picture; null where there is none.
  address(index, id, kind = "thumbnail") {
    const path = `v1/indexes/${encodeURIComponent(index)}/images/${encodeURIComponent(id)}/${kind}`;
    if (!this.addresses.has(path)) this.addresses.set(path, this.fetched(path));
    return this.addresses.get(path);
  }

  async fetched(path) {
    const { signal } = this.stop;
    try {
      const blob = await inTurn(() => (signal.aborted ? null : this.api.blob(path, { accept: "image/*", signal, quiet: true })));
      return blob?.size && !signal.aborted ? URL.createObjectURL(blob) : null;
    } catch {
      return null;
    }
  }

  clear() {
    this.stop.abort();
    for (const address of this.addresses.values()) address.then((made) => made && URL.revokeObjectURL(made));
    this.addresses = new Map();
    this.stop = new AbortController();
  }
}
