// The canvas: the image with masks and clicks, zoomed and moved; what the pointer and the keys do on it.

const LARGEST_ZOOM = 40;
const DRAG_PIXELS = 4;

export class Stage {
  // `hooks`: click(x, y, onObject) and moved(x, y), in pixels of the image.
  constructor(canvas, lens, lensText, hooks) {
    Object.assign(this, { canvas, lens, lensText, hooks });
    this.pen = canvas.getContext("2d");
    this.edge = new OffscreenCanvas(1, 1);
    this.scene = { photo: null, width: 0, height: 0, objects: [], map: null, opacity: 0.45 };
    this.cross = null;
    this.view = { scale: 1, left: 0, top: 0 };
    this.fitted = true;
    new ResizeObserver(() => { this.resize(); }).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("blur", () => this.draw());
  }

  show(scene, anew) {
    Object.assign(this.scene, scene);
    if (anew) {
      this.cross = { x: Math.floor(this.scene.width / 2), y: Math.floor(this.scene.height / 2) };
      this.byKeys = false;
      this.fit();
    } else this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const density = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(clientWidth * density));
    this.canvas.height = Math.max(1, Math.round(clientHeight * density));
    this.density = density;
    if (this.fitted) this.fit(); else this.draw();
  }

  fit() {
    const { width, height } = this.scene;
    this.fitted = true;
    if (width) {
      const scale = Math.min(this.canvas.width / width, this.canvas.height / height) * 0.96;
      this.view = { scale, left: (this.canvas.width - width * scale) / 2, top: (this.canvas.height - height * scale) / 2 };
    }
    this.draw();
  }

  zoom(factor, at = this.crossOnCanvas()) {
    const { view } = this;
    const scale = Math.min(LARGEST_ZOOM * this.density, Math.max(0.02, view.scale * factor));
    const share = scale / view.scale;
    view.left = at.x - (at.x - view.left) * share;
    view.top = at.y - (at.y - view.top) * share;
    view.scale = scale;
    this.fitted = false;
    this.draw();
  }

  moveCross(dx, dy, far) {
    if (!this.cross) return;
    const step = Math.max(1, Math.round((far ? 40 : 4) * this.density / this.view.scale));
    const { width, height } = this.scene;
    this.byKeys = true;
    this.cross = { x: clamp(this.cross.x + dx * step, width), y: clamp(this.cross.y + dy * step, height) };
    const at = this.crossOnCanvas();
    const margin = 40 * this.density;
    this.view.left += Math.max(0, margin - at.x) - Math.max(0, at.x - this.canvas.width + margin);
    this.view.top += Math.max(0, margin - at.y) - Math.max(0, at.y - this.canvas.height + margin);
    this.hooks.moved(this.cross.x, this.cross.y);
    this.draw();
  }

  clickCross(onObject) {
    if (this.cross && this.scene.photo) this.hooks.click(this.cross.x, this.cross.y, onObject);
  }

  crossOnCanvas() {
    const { view, cross } = this;
    if (!cross) return { x: this.canvas.width / 2, y: this.canvas.height / 2 };
    return { x: view.left + (cross.x + 0.5) * view.scale, y: view.top + (cross.y + 0.5) * view.scale };
  }

  onImage(event) {
    const x = Math.floor((event.offsetX * this.density - this.view.left) / this.view.scale);
    const y = Math.floor((event.offsetY * this.density - this.view.top) / this.view.scale);
    return { x, y, inside: x >= 0 && y >= 0 && x < this.scene.width && y < this.scene.height };
  }

  down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { x: event.offsetX, y: event.offsetY, left: this.view.left, top: this.view.top, moved: event.button === 1 };
  }

  move(event) {
    const { drag } = this;
    if (drag) {
      const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
      drag.moved ||= Math.hypot(dx, dy) > DRAG_PIXELS;
      if (drag.moved) {
        this.view.left = drag.left + dx * this.density;
        this.view.top = drag.top + dy * this.density;
        this.fitted = false;
        this.draw();
        return;
      }
    }
    const at = this.onImage(event);
    if (!at.inside) return;
    this.byKeys = false;
    this.cross = { x: at.x, y: at.y };
    this.hooks.moved(at.x, at.y);
    this.drawLens();
  }

  up(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag || drag.moved || !this.scene.photo) return;
    const at = this.onImage(event);
    if (at.inside && event.button !== 1) this.hooks.click(at.x, at.y, event.button === 0 && !event.altKey);
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), { x: event.offsetX * this.density, y: event.offsetY * this.density });
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => { this.drawing = 0; this.paint(); this.drawLens(); });
  }

  paint() {
    const { pen, canvas, scene, view } = this;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!scene.photo) return;
    pen.setTransform(view.scale, 0, 0, view.scale, view.left, view.top);
    pen.imageSmoothingEnabled = view.scale < 3 * this.density;
    pen.drawImage(scene.photo, 0, 0, scene.width, scene.height);
    if (scene.map) {
      pen.globalAlpha = 0.85;
      pen.drawImage(scene.map, 0, 0, scene.width, scene.height);
      pen.globalAlpha = 1;
    }
    for (const object of scene.objects) if (object.mask) this.paintMask(object);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    for (const object of scene.objects) if (!object.active) this.paintClicks(object, 5);
    for (const object of scene.objects) if (object.active) this.paintClicks(object, 7.5);
    if (this.byKeys && document.activeElement === canvas) this.paintCross();
  }

  paintMask(object) {
    const { pen, scene, view } = this;
    const { mask } = object;
    const dim = object.dimmed ? 0.35 : 1;
    pen.globalAlpha = scene.map ? 0 : scene.opacity * dim;
    pen.setTransform(view.scale, 0, 0, view.scale, view.left, view.top);
    pen.imageSmoothingEnabled = mask.width < scene.width;
    const [left, top, width, height] = boxOf(mask, scene);
    if (!scene.map) pen.drawImage(mask.picture, left, top, width, height);
    pen.globalAlpha = dim;
    if (object.active || scene.objects.length <= 12) this.paintEdge(mask, [left, top, width, height], object.active ? 2 : 1.2);
    pen.globalAlpha = 1;
  }

  // A line of even thickness at every zoom: the mask drawn around itself, and then taken out.
  paintEdge(mask, [left, top, width, height], thickness) {
    const { canvas, edge, view } = this;
    if (edge.width !== canvas.width || edge.height !== canvas.height) { edge.width = canvas.width; edge.height = canvas.height; }
    const pen = edge.getContext("2d");
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, edge.width, edge.height);
    pen.imageSmoothingEnabled = mask.width < this.scene.width;
    const box = [view.left + left * view.scale, view.top + top * view.scale, width * view.scale, height * view.scale];
    const reach = thickness * this.density;
    for (let turn = 0; turn < 8; turn++) {
      const angle = turn * Math.PI / 4;
      pen.drawImage(mask.picture, box[0] + reach * Math.cos(angle), box[1] + reach * Math.sin(angle), box[2], box[3]);
    }
    pen.globalCompositeOperation = "destination-out";
    pen.drawImage(mask.shape, ...box);
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.drawImage(edge, 0, 0);
  }

  // A disc with a cross on the object, one with a stroke beside it, so that it needs no colours to tell.
  paintClicks(object, size) {
    const { pen, view } = this;
    const radius = size * this.density;
    for (const [x, y, onObject] of object.clicks) {
      const at = { x: view.left + (x + 0.5) * view.scale, y: view.top + (y + 0.5) * view.scale };
      pen.globalAlpha = object.dimmed ? 0.5 : 1;
      pen.beginPath();
      pen.arc(at.x, at.y, radius, 0, 2 * Math.PI);
      pen.fillStyle = onObject ? "#0b7a4b" : "#c22f3c";
      pen.fill();
      pen.lineWidth = 1.5 * this.density;
      pen.strokeStyle = "#fff";
      pen.stroke();
      pen.beginPath();
      pen.moveTo(at.x - radius * 0.5, at.y); pen.lineTo(at.x + radius * 0.5, at.y);
      if (onObject) { pen.moveTo(at.x, at.y - radius * 0.5); pen.lineTo(at.x, at.y + radius * 0.5); }
      pen.stroke();
      pen.globalAlpha = 1;
    }
  }

  paintCross() {
    const { pen } = this;
    const at = this.crossOnCanvas(), arm = 16 * this.density, gap = 4 * this.density;
    for (const [colour, width] of [["#000", 4], ["#fff", 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width * this.density;
      pen.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(at.x + dx * gap, at.y + dy * gap);
        pen.lineTo(at.x + dx * arm, at.y + dy * arm);
      }
      pen.stroke();
    }
  }

  drawLens() {
    const { lens, scene, cross } = this;
    const pen = lens.getContext("2d");
    pen.clearRect(0, 0, lens.width, lens.height);
    if (!cross || !scene.photo) return;
    const scale = 10, columns = lens.width / scale, rows = lens.height / scale;
    const x = cross.x + 0.5 - columns / 2, y = cross.y + 0.5 - rows / 2;
    pen.imageSmoothingEnabled = false;
    pen.setTransform(scale, 0, 0, scale, -x * scale, -y * scale);
    const share = scene.photo.width / scene.width;
    pen.drawImage(scene.photo, x * share, y * share, columns * share, rows * share, x, y, columns, rows);
    pen.globalAlpha = 0.35;
    for (const { mask, active } of scene.objects) if (mask && active) pen.drawImage(mask.picture, ...boxOf(mask, scene));
    pen.globalAlpha = 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.lineWidth = 1;
    pen.strokeStyle = "#000";
    pen.strokeRect(lens.width / 2 - scale / 2 - 1, lens.height / 2 - scale / 2 - 1, scale + 2, scale + 2);
    pen.strokeStyle = "#fff";
    pen.strokeRect(lens.width / 2 - scale / 2, lens.height / 2 - scale / 2, scale, scale);
    this.lensText.textContent = `x ${cross.x}  y ${cross.y}`;
  }
}

function boxOf(mask, scene) {
  const across = scene.width / mask.width, down = scene.height / mask.height;
  return [mask.left * across, mask.top * down, mask.shape.width * across, mask.shape.height * down];
}

const clamp = (value, size) => Math.min(Math.max(value, 0), size - 1);
