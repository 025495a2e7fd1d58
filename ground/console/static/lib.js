// What every view uses: the framework's names, formats of times and numbers, calls of the API.
import { h, render } from "preact";
import { useEffect, useRef, useState, useMemo } from "preact/hooks";
import { signal, computed, effect } from "@preact/signals";
import htm from "htm";

export const html = htm.bind(h);
export { h, render, useEffect, useRef, useState, useMemo, signal, computed, effect };

// The view and what it shows, as the link says.
const where = () => location.hash.slice(1) || "now";
export const route = signal(where());
addEventListener("hashchange", () => { notice.value = null; route.value = where(); });
// instead: what is shown changes within a view, which "back" is not to go through.
export function go(to, instead) {
  if (!instead) { location.hash = to; return; }
  history.replaceState(null, "", `#${to}`);
  route.value = to;
}

// On a wall: large, without what is for hands; ?wall=1.
export const wall = signal(new URLSearchParams(location.search).get("wall") === "1");
export function toWall(on) {
  history.replaceState(null, "", `/${on ? "?wall=1" : ""}${location.hash}`);
  wall.value = on;
}

const two = (n) => String(n).padStart(2, "0");

export function clock(ms) {
  if (!ms) return "–";
  const d = new Date(ms);
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
}

export function day(ms) {
  if (!ms) return "–";
  return new Date(ms).toISOString().slice(0, 10);
}

// Month, day and minute: for what is planned.
export const minute = (ms) => (ms ? new Date(ms).toISOString().slice(5, 16).replace("T", " ") : "–");

export const stamp = (ms) => (ms ? `${day(ms)} ${clock(ms)}` : "–");

// With its day where it is not of this time of day.
export const near = (ms, now) => (Math.abs(ms - now) < 43_200_000 ? clock : stamp)(ms);

export function span(ms) {
  const s = Math.round(Math.abs(ms) / 1000);
  const [d, hours, m, rest] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
  if (d >= 2) return `${d} d ${hours} h`;
  if (s >= 3600) return `${Math.floor(s / 3600)} h ${two(m)} min`;
  return s >= 60 ? `${m} min ${two(rest)} s` : `${rest} s`;
}

export const until = (ms, now) => (ms >= now ? `in ${span(ms - now)}` : `${span(now - ms)} ago`);

const whole = new Intl.NumberFormat("en-US");
export function number(value) {
  if (value === null || value === undefined) return "no value";
  if (typeof value !== "number") return Array.isArray(value) ? `[${value.map(number).join(", ")}]` : String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1000 ? String(value) : whole.format(value).replaceAll(",", " ");
  const a = Math.abs(value);
  return a >= 1e6 || (a > 0 && a < 1e-3) ? value.toExponential(3) : Number(value.toPrecision(6)).toString();
}

export function octets(n) {
  return n < 10240 ? `${number(n)} B` : n < 10485760 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
}

export const session = signal(null);
export const notice = signal(null);

// Signed out by the console: after its time, by an administrator, or with the account.
export function expire() {
  if (!session.value) return;
  session.value = null;
  notice.value = { text: "Your session has ended. Sign in again." };
}

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function api(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (session.value && method !== "GET") headers["x-csrf-token"] = session.value.csrf;
  const answer = await fetch(`/api/v1${path}`, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const found = await answer.json().catch(() => ({ error: answer.statusText }));
  if (answer.ok) return found;
  if (answer.status === 401 && session.value && path !== "/session") expire();
  throw new ApiError(answer.status, found.error ?? answer.statusText);
}

// Do something, and say so if it was refused.
export async function attempt(work) {
  try {
    notice.value = null;
    return await work();
  } catch (error) {
    notice.value = { text: error.message, at: Date.now() };
    return null;
  }
}

const RANK = { viewer: 1, operator: 2, approver: 3, admin: 4 };
export const may = (role) => session.value !== null && RANK[session.value.role] >= RANK[role];

export const severity = (state) =>
  !state ? "" : state === "NOMINAL" ? "nominal" : state.startsWith("CRITICAL") ? "critical" : "warning";

// A service that has said nothing for so long is silent; they do each second (wall).
export const silent = (service, t) => t - service.time > 5000 * session.value.speed;

// Load again now and then while a view is open.
export function useLoad(load, every, deps = []) {
  const [value, set] = useState(null);
  const [error, fail] = useState(null);
  useEffect(() => {
    let open = true;
    const once = () => load().then((v) => open && (set(v), fail(null))).catch((e) => open && fail(e.message));
    once();
    const timer = every ? setInterval(once, every) : 0;
    return () => { open = false; clearInterval(timer); };
  }, deps);
  return [value, error, set];
}
