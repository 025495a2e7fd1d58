// Four clocks: what is now, what can be known, what can be done.
import { clock, day, html, span } from "../lib.js";
import { now, owlt, passes, windows } from "../live.js";

function Clock({ label, time, note, tag }) {
  return html`<div class="clock"><small>${label}</small><b>${clock(time)}</b> <em class=${tag ?? ""}>${note ?? ""}</em></div>`;
}

export function ClockStrip() {
  const t = now.value, light = owlt(), w = windows();
  const heard = (at) => !w.planned || windowsAt(at);
  return html`<div class="clocks" role="group" aria-label="Clocks">
    <${Clock} label="Ground UTC" time=${t} note=${day(t)} />
    <${Clock} label="Spacecraft time now visible" time=${light === null ? 0 : t - light} note=${light === null ? "light time unknown" : `${span(light)} ago`} />
    <${Clock} label="Sent now, arrives" time=${light === null ? 0 : t + light} note=${w.planned && !w.uplink ? "no uplink now" : ""} tag="warning" />
    <${Clock} label="Earliest reply" time=${light === null ? 0 : t + 2 * light} note=${light !== null && !heard(t + 2 * light) ? "in no pass" : ""} tag="warning" />
  </div>`;
}

function windowsAt(at) {
  return (passes.value?.passes ?? []).some((p) => p.mission === "L4 relay" && p.aos <= at && at < p.los);
}
