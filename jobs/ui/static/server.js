// Talking to the server: questions, and changes that are sent until they are acknowledged.

// Anew for each loading of the page: a tab that was duplicated is another one.
export const tab = crypto.getRandomValues(new Uint32Array(2)).join("-");

export class Refused extends Error {
  constructor(status, text, kind) { super(text); this.status = status; this.kind = kind; }
}

export class Lost extends Error {}

export async function ask(path, parameters = {}) {
  return answer(`${path}?${new URLSearchParams(parameters)}`);
}

export async function send(path, body) {
  return answer(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tab, ...body }) });
}

async function answer(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    throw new Lost("the server does not answer");
  }
  const kind = response.headers.get("content-type") ?? "";
  const found = kind.includes("json") ? await response.json() : await response.blob();
  if (!response.ok) throw new Refused(response.status, found.error ?? response.statusText, found.kind);
  return found;
}

// Changes in the order in which they were made. Nothing is dropped before the server has it on its disk.
export class Outbox {
  constructor(show) { this.show = show; this.waiting = []; this.sending = false; this.timer = 0; }

  put(path, body) { this.waiting.push({ path, body }); this.show(this.waiting.length, null); this.flush(); }

  async flush() {
    if (this.sending) return;
    this.sending = true;
    clearTimeout(this.timer);
    while (this.waiting.length) {
      const { path, body } = this.waiting[0];
      try {
        await send(path, body);
        this.waiting.shift();
        this.show(this.waiting.length, null);
      } catch (error) {
        this.show(this.waiting.length, error);
        if (error instanceof Refused && error.status === 400) { this.waiting.shift(); continue; }
        this.timer = setTimeout(() => this.flush(), 1000);
        break;
      }
    }
    this.sending = false;
  }
}
