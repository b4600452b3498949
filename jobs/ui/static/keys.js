// One table of keys: what the sheet shows is what is done.

export class Keys {
  // `table`: [title, mode or null, [[keys, what, action], ...]]; keys as "u", "Ctrl+z", "Shift+ArrowUp".
  constructor(table, mode) {
    this.table = table;
    this.mode = mode;
    document.addEventListener("keydown", (event) => this.keydown(event));
  }

  keydown(event) {
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input:not([type=range]), select, textarea");
    if (typing) {
      if (event.key === "Escape") { event.target.blur(); document.getElementById("stage").focus(); }
      return;
    }
    const onButton = event.target.closest("button, summary") && (event.key === " " || event.key === "Enter");
    const onSlider = event.target.matches("input[type=range]") && event.key.startsWith("Arrow");
    if (onButton || onSlider) return;
    const name = nameOf(event);
    for (const [, mode, rows] of this.table) {
      if (mode && mode !== this.mode()) continue;
      for (const [keys, , action] of rows) {
        if (action && keys.includes(name)) {
          event.preventDefault();
          action(event);
          return;
        }
      }
    }
  }

  fill(sheet) {
    sheet.replaceChildren(...this.table.map(([title, , rows]) => {
      const section = document.createElement("section");
      const heading = document.createElement("h3");
      heading.textContent = title;
      const list = document.createElement("dl");
      for (const [keys, what, , shown] of rows.filter(([, text]) => text)) {
        const term = document.createElement("dt");
        for (const key of shown ?? keys.slice(0, 2)) {
          const mark = document.createElement("kbd");
          mark.textContent = spoken(key);
          term.append(mark, " ");
        }
        const meaning = document.createElement("dd");
        meaning.textContent = what;
        list.append(term, meaning);
      }
      section.append(heading, list);
      return section;
    }));
  }
}

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && event.key.length > 1 ? "Shift+" : "";
  const letterShift = event.shiftKey && (event.ctrlKey || event.metaKey) && event.key.length === 1 ? "Shift+" : "";
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${shift}${letterShift}${key}`;
}

const SPOKEN = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", PageDown: "PgDn", PageUp: "PgUp", Delete: "Del" };

const spoken = (key) => key.split("+").map((part) => SPOKEN[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join("+") || "+";
