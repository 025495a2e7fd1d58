// What a receiver hears: locks, Eb/N0, spectrum and constellation on a canvas.
import { html, number, session, until, useEffect, useRef } from "../lib.js";
import { now, radios } from "../live.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const hertz = (f) => (Math.abs(f) >= 1e6 ? `${number(f / 1e6)} MHz` : Math.abs(f) >= 1e3 ? `${number(f / 1e3)} kHz` : `${number(f)} Hz`);
const decibel = (v) => (v === null ? "–" : `${v.toFixed(1)} dB`);

function Canvas({ width, height, draw, label, of }) {
  const canvas = useRef(null);
  useEffect(() => {
    const c = canvas.current, ratio = devicePixelRatio, ctx = c.getContext("2d");
    c.width = width * ratio; c.height = height * ratio;
    ctx.scale(ratio, ratio);
    ctx.font = "11px system-ui"; ctx.fillStyle = css("--dim"); ctx.strokeStyle = css("--line");
    draw(ctx, width, height);
  }, [of, document.documentElement.dataset.theme]);
  return html`<canvas ref=${canvas} role="img" aria-label=${label} style=${`width:${width}px;height:${height}px;max-width:100%`} />`;
}

// Steps of 1, 2 or 5 times a power of ten, about so many.
function steps(low, high, about) {
  const raw = (high - low) / about, ten = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= raw);
  const out = []; for (let v = Math.ceil(low / step) * step; v <= high; v += step) out.push(v);
  return out;
}

const spectrum = (r) => (ctx, w, h) => {
  const known = r.spectrum.filter((v) => v !== null);
  if (!known.length) return;
  const high = Math.ceil(Math.max(...known) / 10) * 10, low = Math.max(Math.floor(Math.min(...known) / 10) * 10, high - 90);
  const [left, top, right, bottom] = [44, 6, w - 6, h - 20];
  const x = (k) => left + ((right - left) * k) / (r.spectrum.length - 1), y = (v) => top + ((bottom - top) * (high - Math.max(v ?? low, low))) / (high - low || 1);
  for (const v of steps(low, high, 5)) { ctx.beginPath(); ctx.moveTo(left, y(v)); ctx.lineTo(right, y(v)); ctx.stroke(); ctx.fillText(`${v} dB`, 2, y(v) + 4); }
  const from = r.centre_hz - r.span_hz / 2;
  ctx.textAlign = "center";
  for (const f of steps(from, from + r.span_hz, 6)) { const at = left + ((right - left) * (f - from)) / r.span_hz; ctx.beginPath(); ctx.moveTo(at, top); ctx.lineTo(at, bottom); ctx.stroke(); if (at > left + 24 && at < right - 24) ctx.fillText(hertz(f), at, h - 5); }
  // Where the receiver believes the carrier.
  const at = left + ((right - left) * (r.carrier_offset_hz - from)) / r.span_hz;
  if (r.carrier_lock && at > left && at < right) { ctx.strokeStyle = css("--warn"); ctx.setLineDash([4, 3]); ctx.beginPath(); ctx.moveTo(at, top); ctx.lineTo(at, bottom); ctx.stroke(); ctx.setLineDash([]); }
  ctx.strokeStyle = css("--accent"); ctx.lineWidth = 1.2; ctx.beginPath();
  r.spectrum.forEach((v, k) => (k ? ctx.lineTo(x(k), y(v)) : ctx.moveTo(x(k), y(v))));
  ctx.stroke();
};

// 64 is the amplitude of a symbol without noise.
const constellation = (r) => (ctx, w) => {
  const m = w / 2, unit = (m - 6) / 112;
  ctx.beginPath(); ctx.moveTo(0, m); ctx.lineTo(w, m); ctx.moveTo(m, 0); ctx.lineTo(m, w); ctx.stroke();
  ctx.beginPath(); ctx.arc(m, m, 64 * unit, 0, 2 * Math.PI); ctx.stroke();
  ctx.fillText("Q", m + 4, 12); ctx.fillText("I", w - 10, m - 4);
  ctx.fillStyle = css("--accent"); ctx.globalAlpha = 0.75;
  for (const [i, q] of r.constellation) ctx.fillRect(m + i * unit - 1.2, m - q * unit - 1.2, 2.4, 2.4);
};

const Lock = ({ on, name }) => html`<span class=${"tag " + (on ? "nominal" : "warning")}>${name} ${on ? "LOCKED" : "NO LOCK"}</span> `;

export function Radios() {
  const t = now.value;
  return Object.values(radios.value).map((r) => {
    const old = t - r.heard > 5000 * session.value.speed;
    return html`<section class=${"panel" + (old ? " stale" : "")} key=${r.receiver} aria-label=${`Receiver ${r.receiver}`}>
      <h2>Receiver ${r.receiver} <span class="dim">${r.station} ${r.modulation}</span> ${old && html`<span class="tag warning">SILENT ${until(r.heard, t)}</span>`}</h2>
      <p><${Lock} on=${r.carrier_lock} name="carrier" /><${Lock} on=${r.symbol_lock} name="symbols" /><${Lock} on=${r.frame_lock} name="frames" /></p>
      <div class="radio"><table><tbody><tr><td>Eb/N0</td><td class="num"><b>${decibel(r.ebn0_db)}</b></td></tr><tr><td>carrier offset</td><td class="num">${hertz(Math.round(r.carrier_offset_hz * 10) / 10)}</td></tr>
        <tr><td>symbol rate</td><td class="num">${number(r.symbol_rate)} /s</td></tr><tr><td>input level</td><td class="num">${decibel(r.level_db)}FS</td></tr></tbody></table>
      ${r.constellation.length > 0 ? html`<${Canvas} width=${190} height=${190} draw=${constellation(r)} of=${r} label=${`Constellation, ${r.constellation.length} symbols`} />` : html`<p class="dim">no constellation without symbol lock</p>`}
      ${r.spectrum.length > 0 && html`<${Canvas} width=${560} height=${190} draw=${spectrum(r)} of=${r} label=${`Spectrum, ${hertz(r.span_hz)} wide; carrier at ${hertz(r.carrier_offset_hz)}`} />`}</div></section>`;
  });
}
