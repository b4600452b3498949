// Has an image made ready for clicks, and says so where that takes a while.

import { send } from "./server.js";

export class Looking {
  constructor(preparing) { this.preparing = preparing; this.begin(null); }

  begin(image, ahead = []) { Object.assign(this, { image, ahead, asked: null }); }

  // What was ready may have been forgotten meanwhile, by the server's cache or with the server.
  again() { this.asked = null; }

  ready() {
    if (!this.asked) {
      const { image } = this;
      const asked = this.asked = send("/api/look", { image, ahead: this.ahead });
      const shown = setTimeout(() => { if (this.image === image) this.preparing(image, true); }, 250);
      const over = () => { clearTimeout(shown); this.preparing(image, false); };
      asked.then(over, over);
      asked.catch(() => { if (this.asked === asked) this.asked = null; });
    }
    return this.asked;
  }
}
