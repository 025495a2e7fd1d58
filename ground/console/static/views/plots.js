// Archive and real time in one plot: min/max band and mean, zoom by dragging, from years to a second.
import uPlot from "uplot";
import { api, html, number, stamp, useEffect, useRef, useState } from "../lib.js";
import { events, now, owlt, parameters } from "../live.js";

const SPANS = [["10 min", 600e3], ["1 h", 3600e3], ["6 h", 6 * 3600e3], ["1 d", 86400e3], ["30 d", 30 * 86400e3], ["1 y", 365.25 * 86400e3]];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Plots({ rest }) {
  const [known, setKnown] = useState([]);
  const [name, setName] = useState(rest[0] ?? "PWR_BUS_VOLTAGE");
  const [range, setRange] = useState(null); // [from, to] ms, null: follow the newest
  const [width, setWidth] = useState(3600e3);
  const [marks, setMarks] = useState(true);
  const [data, setData] = useState(null);
  const [took, setTook] = useState(0), [failed, fail] = useState("");
  const box = useRef(null), plot = useRef(null);
  useEffect(() => { if (rest[0]) setName(rest[0]); }, [rest[0]]);
  useEffect(() => { api("GET", "/parameters").then(setKnown).catch(() => {}); }, []);
  const visible = () => now.value - (owlt() ?? 0);
  const ends = () => range ?? [visible() - width, visible()];
  useEffect(() => {
    let open = true;
    const load = async () => {
      const [from, to] = ends(), began = performance.now();
      const found = await api("GET", `/plot?name=${encodeURIComponent(name)}&from=${from}&to=${to}&points=1200`).catch((e) => { if (open) fail(e.message); return null; });
      if (open && found) { fail(""); setData({ ...found, from, to }); setTook(performance.now() - began); }
    };
    if (now.value) load();
    const timer = setInterval(() => { if (!range) load(); }, 2000);
    return () => { open = false; clearInterval(timer); };
  }, [name, range, width, now.value > 0]);
  useEffect(() => {
    if (!data || !box.current) return;
    const numeric = data.minimum.every((v) => typeof v === "number" || v === null);
    const x = data.time.map((t) => t / 1000);
    const series = numeric ? [x, data.mean, data.minimum, data.maximum] : [x, data.count, data.count, data.count];
    plot.current?.destroy();
    const overlay = (u) => {
      const { ctx, bbox } = u;
      ctx.save();
      if (marks) for (const e of events.value) {
        if (e.scet < data.from || e.scet > data.to || e.severity === "info") continue;
        const px = u.valToPos(e.scet / 1000, "x", true);
        ctx.strokeStyle = css(e.severity === "critical" ? "--bad" : "--warn");
        ctx.beginPath(); ctx.moveTo(px, bbox.top); ctx.lineTo(px, bbox.top + bbox.height); ctx.stroke();
      }
      ctx.restore();
    };
    const axis = { stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
    const ticks = (u, splits, index, space, step) => splits.map((s) => {
      const at = new Date(s * 1000).toISOString();
      if (step >= 86400 || at.slice(11, 19) === "00:00:00") return at.slice(step >= 86400 * 28 ? 0 : 5, step >= 86400 * 28 ? 7 : 10);
      return step >= 60 ? at.slice(11, 16) : at.slice(11, step >= 1 ? 19 : 23);
    });
    plot.current = new uPlot({
      width: box.current.clientWidth, height: Math.max(260, innerHeight - 330), tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), "Etc/UTC"),
      scales: { x: { min: data.from / 1000, max: data.to / 1000 } },
      series: [{ label: "SCET (UTC)", value: (u, v) => (v === null ? "--" : stamp(v * 1000)) }, { label: `${data.name}, mean`, stroke: css("--accent"), width: 1.5, points: { show: x.length < 80 } },
        { label: "least", stroke: "transparent", points: { show: false } }, { label: "greatest", stroke: "transparent", points: { show: false } }],
      bands: [{ series: [3, 2], fill: css("--accent") + "33" }],
      axes: [{ ...axis, values: ticks }, { ...axis, size: 70, label: data.unit || undefined }],
      cursor: { drag: { x: true, y: false, setScale: false } },
      hooks: { draw: [overlay], setSelect: [(u) => {
        if (u.select.width < 4) return;
        setRange([u.posToVal(u.select.left, "x") * 1000, u.posToVal(u.select.left + u.select.width, "x") * 1000]);
      }] },
    }, series, box.current);
    return () => { plot.current?.destroy(); plot.current = null; };
  }, [data, marks]);
  const save = (blob, suffix) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob); link.download = `${name}.${suffix}`; link.click();
    URL.revokeObjectURL(link.href);
  };
  const png = () => box.current.querySelector("canvas").toBlob((blob) => save(blob, "png"));
  const csv = () => save(new Blob([["time_utc,mean,least,greatest,count", ...data.time.map((t, i) =>
    [new Date(t).toISOString(), data.mean[i], data.minimum[i], data.maximum[i], data.count[i]].join(","))].join("\n")], { type: "text/csv" }), "csv");
  const zoom = (factor) => { const [a, b] = ends(), m = (a + b) / 2, h = ((b - a) / 2) * factor; setRange([m - h, m + h]); };
  const pan = (part) => { const [a, b] = ends(); setRange([a + part * (b - a), b + part * (b - a)]); };
  const names = [...new Set([...known.map((k) => k.name), ...Object.values(parameters.value).flatMap((b) => Object.keys(b.values))])].sort();
  return html`<div class="row"><label>Parameter <input list="names" value=${name} onChange=${(e) => { location.hash = `plots/${e.target.value.toUpperCase()}`; }} /></label>
      <datalist id="names">${names.map((n) => html`<option value=${n} />`)}</datalist>
      <span role="group" aria-label="Span">${SPANS.map(([label, ms]) => html`<button aria-pressed=${!range && width === ms} class=${!range && width === ms ? "primary" : ""}
        onClick=${() => { setRange(null); setWidth(ms); }}>${label}</button>`)}</span>
      <button onClick=${() => zoom(0.5)} aria-label="Zoom in">+</button><button onClick=${() => zoom(2)} aria-label="Zoom out">−</button>
      <button onClick=${() => pan(-0.5)} aria-label="Earlier">◀</button><button onClick=${() => pan(0.5)} aria-label="Later">▶</button>
      <label><input type="checkbox" checked=${marks} onChange=${(e) => setMarks(e.target.checked)} /> events</label>
      <button onClick=${png} disabled=${!data}>PNG</button><button onClick=${csv} disabled=${!data}>CSV</button></div>
    ${failed && html`<p class="warning" role="status">${failed}</p>`}
    <p class="dim">${data ? `${stamp(data.from)} to ${stamp(data.to)} SCET · ${number(data.count.reduce((a, b) => a + b, 0))} samples in ${data.time.length} bins of ${data.width_ms < 1 ? "one sample" : `${number(data.width_ms / 1000)} s`} · ${Math.round(took)} ms` : "…"}
      ${range ? " · fixed; a span above follows the newest" : " · follows the newest"}</p>
    <div ref=${box} class="panel" role="img" aria-label=${`Plot of ${name}`}></div>`;
}
