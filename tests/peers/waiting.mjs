// A test waits for a condition under a deadline, and says what it waited for when that passes. It never sleeps.

/** Far more than anything here takes, also under an emulator: whoever reaches it has found a fault. */
export const DEADLINE_MS = 30_000;

/** What `promise` gives; fails when it does not come in time. */
export async function within(promise, what, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${ms} ms there was still no ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What `look` gives as soon as that is something; asks again and again, and no longer than a test may wait. */
export async function until(look, what) {
  let late = false;
  const search = async () => {
    while (!late) {
      const found = await look();
      if (found) return found;
      await new Promise((again) => setTimeout(again, 10));
    }
  };
  try {
    return await within(search(), what);
  } finally {
    late = true;
  }
}

/** What has arrived so far, in order, and a place to read it from. */
export class Arrivals {
  all = [];
  #read = 0;
  #ended = false;
  #waiting = [];

  push(item) {
    this.all.push(item);
    this.#wake();
  }

  /** What has arrived and nobody has read. */
  unread() {
    return this.all.slice(this.#read);
  }

  /** Nothing more will come. */
  end() {
    this.#ended = true;
    this.#wake();
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** What was not yet read, until the end, with no deadline. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#read < this.all.length) yield this.all[this.#read++];
      if (this.#ended) return;
      await new Promise((wake) => this.#waiting.push(wake));
    }
  }

  /** The next one that was not yet read. */
  next(what) {
    return this.find(() => true, what);
  }

  /** Reads up to the first that `fits`, and gives that one. */
  async find(fits, what) {
    const search = async () => {
      for await (const item of this) if (fits(item)) return item;
      throw new Error(`it ended without a ${what}`);
    };
    try {
      return await within(search(), what);
    } catch (error) {
      const last = this.all.slice(-5).map((item) => JSON.stringify(item).slice(0, 200));
      error.message += `; the last of ${this.all.length} arrivals: ${last.join(', ') || 'none'}`;
      throw error;
    }
  }
}
