// The score of every threshold of a click, with the one that was taken.

export function drawCurve(canvas, { thresholds, scores }, taken) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  if (!thresholds.length) return;
  const across = (value) => 6 + (width - 12) * value / (thresholds.at(-1) || 1);
  const highest = Math.max(...scores) || 1;
  const up = (value) => height - 8 - (height - 16) * value / highest;
  pen.strokeStyle = "#8fb0ff";
  pen.lineWidth = 1.5;
  pen.beginPath();
  thresholds.forEach((threshold, index) => pen.lineTo(across(threshold), up(scores[index])));
  pen.stroke();
  if (taken === undefined) return;
  pen.strokeStyle = "#ffb000";
  pen.beginPath();
  pen.moveTo(across(taken), 0);
  pen.lineTo(across(taken), height);
  pen.stroke();
}
