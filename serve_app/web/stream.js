// Stream: quotes and channels of Bourse for a page. Source: docs/stream.md, "Clients".
//
//     import { Stream } from "/web/stream.js";
//     const stream = new Stream({ token: () => login.accessToken() });
//     stream.on("quotes", ({ symbols }) => symbols.forEach((symbol) => paint(stream.get(symbol))));
//     stream.quotes(["RELIANCE", "TCS"], { fields: ["price", "at"], rate: 4 });
//     stream.channel("candles", { symbols: ["TCS"], after: kept }, (rows, cursor) => ...);
//
// One socket carries all of it. A cut mends itself: pauses double from 0.1 to 5 s, each scattered by half; the session
// is resumed, each channel goes on from its cursor. Prices are rupees, times ms since 1970 in UTC, null is unknown.

const SILENCE = 2; // so many heartbeats missed are a line that is down
const FIRST_MS = 100, LONGEST_MS = 5000, OPEN_MS = 5000;
const MESSAGES_A_SECOND = 15, AT_ONCE = 60; // the gateway takes 20 a second, 100 at once
const SYMBOLS = 1000; // of one message
const NO_CREDENTIAL = 4001, FATAL = [1008, 1009, 4003];
const KINDS = ["heartbeat", "key", "delta"];
const FEEDS = ["LIVE", "MUTE", "DOWN", "CLOSED", "UNKNOWN"];
const EXCHANGES = ["", "NSE:", "BSE:", "NASDAQ:", "NYSE:"];
const BEATS = 20;

export class Stream {
  /** `url`: of the gateway, the page's own without. `token`: an access token or a function that gets one, with which
   *  a ticket is had for every connection; `ticket`: a function that gets the ticket itself. `format`: json, msgpack. */
  constructor({ url = globalThis.location?.origin, token = null, ticket = null, format = "json" } = {}) {
    this.url = String(url).replace(/\/$/, "");
    this.format = format;
    this.latest = new Map(); // symbol -> quote, as the gateway has said it; `get` adds what it is worth now
    this.cursor = {}; // channel -> of the last entry that was handed on
    this.live = false;
    this.trouble = "";
    this.feed = "UNKNOWN";
    this.marketTime = null;
    this.hello = null;
    this.cuts = 0;
    this._token = token;
    this._ticket = ticket ?? (token === null ? null : () => this._ticketOf());
    this._listeners = new Map();
    this._wanted = null; // { fields, rate, sources, removing: of each removal not answered yet, as asked -> in full }
    this._channels = new Map();
    this._heard = new Set(); // symbols that the gateway of now has spoken of
    this._missed = new Set();
    this._names = new Map(); // number -> symbol, of MessagePack
    this._asks = new Map();
    this._id = 0;
    this._pause = FIRST_MS;
    this._session = "";
    this._sequence = -1;
    this._checked = false;
    this._closed = false;
    this._open();
  }

  /** Call `what` of every "quotes" ({symbols}), "state" ({live, trouble}) or "error"; gives the way to end it. */
  on(kind, what) {
    const mine = this._listeners.get(kind) ?? new Set();
    this._listeners.set(kind, mine.add(what));
    return () => mine.delete(what);
  }

  /** The quote of `NSE:TCS` or `TCS` with its `age` in ms and whether it is stale: undefined where there is none. */
  get(symbol) {
    const name = this._named(symbol);
    if (name === undefined) return undefined;
    const { _span, ...quote } = this.latest.get(name);
    const known = quote.at != null && this.marketTime !== null;
    const stale = !this.live || !this._heard.has(name) || quote.stale !== false;
    return { ...quote, symbol: name, stale, feed: this.feed, age: known ? Math.max(this.marketTime - quote.at, 0) : null };
  }

  /** Ask for quotes, `rate` times a second at most; `fields` null: all. Again: more symbols, or another choice. */
  quotes(symbols = [], { fields, rate, watchlist, index } = {}) {
    const wanted = (this._wanted ??= { fields: null, rate: 4, sources: [], removing: [] });
    if (fields !== undefined) wanted.fields = fields === null ? null : [...new Set([...fields, "stale"])].sort();
    if (rate !== undefined) wanted.rate = rate;
    this._set();
    const names = [...new Set(symbols)];
    const sources = [];
    for (let k = 0; k < names.length; k += SYMBOLS) sources.push({ symbols: names.slice(k, k + SYMBOLS) });
    if (watchlist !== undefined) sources.push({ watchlist });
    if (index !== undefined) sources.push({ index });
    wanted.sources.push(...sources);
    sources.forEach((source) => this._subscribe(source));
  }

  /** Ask for fewer; what a watchlist or an index brought comes again after a cut. */
  remove(symbols) {
    const gone = new Set(symbols.map(full));
    for (const source of this._wanted?.sources ?? [])
      if (source.symbols) source.symbols = source.symbols.filter((one) => !gone.has(full(one)));
    const names = new Map(symbols.map((one) => [one, this._named(one)]));
    for (const name of names.values()) {
      this.latest.delete(name);
      this._heard.delete(name);
      for (const [number, symbol] of this._names) if (symbol === name) this._names.delete(number);
    }
    this._wanted?.removing.push(names);
    this._say({ op: "unsubscribe", symbols }, () => this._wanted?.removing.shift());
  }

  /** Every entry of a channel from now on, or from behind the cursor `after`: `take(rows, cursor)`, once, in order. */
  channel(name, { symbols = null, interval, after = null } = {}, take) {
    if (this._channels.has(name)) throw new Error(`${name} is joined already`);
    this._channels.set(name, { name, asked: { symbols, ...(interval ? { interval } : {}) }, last: after, take, joined: false });
    this._join(this._channels.get(name));
  }

  /** End a channel. */
  leave(name) {
    if (this._channels.delete(name)) this._say({ op: "leave", channel: name });
  }

  /** End it all. */
  close() {
    this._closed = true;
    clearTimeout(this._timer);
    this._lost("closed", 0);
  }

  async _open() {
    const line = (this._line = { socket: null, out: [], sent: 0 });
    try {
      const ticket = this._ticket === null ? "" : `&ticket=${encodeURIComponent(await this._ticket())}`;
      if (this._closed || line !== this._line) return;
      const socket = new WebSocket(`${this.url.replace(/^http/, "ws")}/ws/quotes?format=${this.format}${ticket}`);
      line.socket = socket;
      socket.binaryType = "arraybuffer";
      socket.onmessage = ({ data }) => line === this._line && this._take(typeof data === "string" ? JSON.parse(data) : unpack(data));
      socket.onclose = ({ code, reason }) => line === this._line && this._ended(code, reason);
      this._watch(OPEN_MS);
    } catch (error) {
      if (line !== this._line) return;
      if (error instanceof Refused) this._fail(error);
      else this._lost(String(error.message ?? error), this._next());
    }
  }

  async _ticketOf() {
    const token = typeof this._token === "function" ? await this._token() : this._token;
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch(`${this.url}/api/subscribe`, { method: "POST", headers, body: '{"symbols":[]}' });
    if (answer.ok) return (await answer.json()).ticket;
    const said = `no ticket: ${answer.status}`;
    throw answer.status === 401 || answer.status === 403 ? new Refused(said, NO_CREDENTIAL) : new Error(said);
  }

  _ended(code, reason) {
    const again = code !== NO_CREDENTIAL || (this._ticket !== null && this.live);
    if (FATAL.includes(code) || !again) this._fail(new Refused(reason || `closed with ${code}`, code));
    else this._lost(code === 1006 ? "the line broke" : `closed with ${code}: ${reason}`, this._next());
  }

  _fail(error) {
    this._closed = true;
    this._lost(error.message, 0);
    this._tell("error", error);
  }

  _lost(trouble, pause) {
    const { socket } = this._line;
    this._line = { socket: null, out: [], sent: 0 };
    if (socket) socket.onmessage = socket.onclose = null;
    socket?.close();
    this._asks.clear();
    for (const channel of this._channels.values()) channel.joined = false;
    clearTimeout(this._timer);
    clearTimeout(this._speaker);
    this._speaker = undefined;
    this.live = false;
    this.trouble = trouble;
    if (!this._closed) {
      this.cuts += 1;
      this._timer = setTimeout(() => this._open(), pause);
    }
    this._tell("state", { live: false, trouble });
  }

  _next() {
    const pause = this._pause * (0.5 + Math.random() / 2);
    this._pause = Math.min(this._pause * 2, LONGEST_MS);
    return pause;
  }

  _watch(ms) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._lost(`nothing was heard for ${ms / 1000} s`, this._next()), ms);
  }

  _take(said) {
    if (Array.isArray(said)) return this._frame(this._unfolded(said));
    if (said.type === "hello") return this._begin(said);
    this._watch(SILENCE * 1000 * this.hello.heartbeat_seconds);
    if (KINDS.includes(said.type)) return this._frame(said);
    if (said.type === "done" || said.type === "error") return this._answered(said);
    const channel = this._channels.get(said.type);
    if (!channel?.joined) return undefined; // of a membership that has ended: it comes again
    channel.last = said.cursor;
    this.cursor[said.type] = said.cursor;
    if (said.rows.length) channel.take(said.rows, said.cursor);
    return undefined;
  }

  _begin(hello) {
    if (hello.version !== 1) return this._fail(new Refused("it speaks another protocol than this client: version 1", 0));
    const before = this._session;
    this._session = hello.session;
    this.hello = hello;
    this._checked = false;
    this._heard.clear();
    this._names.clear();
    this.live = true;
    this.trouble = "";
    this._watch(SILENCE * 1000 * hello.heartbeat_seconds);
    const wanted = this._wanted;
    if (wanted && before && !wanted.removing.length && this._sequence >= 0)
      this._say({ op: "resume", session: before, sequence: this._sequence }, (said) => this._resumed(said));
    else {
      if (wanted) wanted.removing = [];
      this._anew();
    }
    for (const channel of this._channels.values()) this._join(channel);
    this._tell("state", { live: true, trouble: "" });
    return undefined;
  }

  _anew() {
    this._sequence = -1;
    if (!this._wanted) return;
    this._set();
    this._wanted.sources.forEach((source) => this._subscribe(source));
  }

  _resumed(said) {
    if (!said.known) return this._anew();
    this._checked = true;
    for (const symbol of said.symbols) if (this.latest.has(symbol)) this._heard.add(symbol);
    this._number(said.numbers);
    const { rate, fields, sources } = this._wanted;
    const same = [...said.fields].sort().join() === [...(fields ?? this.hello.fields.map((f) => f.name))].sort().join();
    if (!same || said.rate !== BEATS / Math.ceil(BEATS / rate)) this._set();
    sources.forEach((source) => this._subscribe(source));
    this._tell("quotes", { symbols: [] });
    return undefined;
  }

  _set() {
    const { rate, fields } = this._wanted;
    this._say({ op: "set", rate, fields }, (said) => this._problem(said));
  }

  _subscribe(source) {
    this._say({ op: "subscribe", ...source }, (said) => {
      if (this._problem(said)) return;
      this._number(said.numbers);
      const [unknown, leftOut] = [said.unknown, said.left_out].map((list) => list.filter((one) => !this._missed.has(one)));
      [...unknown, ...leftOut].forEach((one) => this._missed.add(one)); // said once, not after every cut
      if (unknown.length || leftOut.length)
        this._tell("error", Object.assign(new Error("some symbols are not had"), { unknown, leftOut }));
    });
  }

  _problem(said) {
    if (said.type === "error") this._tell("error", Object.assign(new Error(said.problem.detail), { problem: said.problem }));
    return said.type === "error";
  }

  _join(channel) {
    channel.joined = false;
    if (this._channels.get(channel.name) !== channel) return;
    const after = channel.last === null ? {} : { after: channel.last };
    this._say({ op: "join", channel: channel.name, ...channel.asked, ...after }, (said) => {
      channel.joined = said.type === "done";
      if (channel.joined && channel.last === null) channel.last = this.cursor[channel.name] = said.cursor;
      if (said.type === "error" && said.problem.status >= 500) setTimeout(() => this.live && this._join(channel), this._next());
      else if (said.type === "error") {
        this._channels.delete(channel.name);
        this._problem(said);
      }
    });
  }

  _number(numbers) {
    for (const [symbol, number] of Object.entries(numbers ?? {})) this._names.set(number, symbol);
  }

  _answered(said) {
    const answered = this._asks.get(said.id);
    if (said.type === "error" || !("cursor" in said)) this._asks.delete(said.id); // a channel may be joined and lost
    answered?.(said);
  }

  _frame({ type, sequence, market_time, feed, quotes }) {
    this._watch(SILENCE * 1000 * this.hello.heartbeat_seconds);
    if (this._checked && sequence !== this._sequence + 1) return this._lost(`a frame is missing before ${sequence}`, this._next());
    if (this._checked || this._sequence < 0) [this._sequence, this._checked] = [sequence, true];
    this._pause = FIRST_MS;
    this.marketTime = market_time;
    const news = this.feed !== feed;
    this.feed = feed;
    const symbols = type === "heartbeat" ? [] : this._kept(Object.keys(quotes));
    for (const symbol of symbols) {
      this.latest.set(symbol, Object.assign(this.latest.get(symbol) ?? {}, quotes[symbol]));
      this._heard.add(symbol);
    }
    if (news || symbols.length) this._tell("quotes", { symbols });
    return undefined;
  }

  /** Those that are still wanted: whatever comes before the answer to a removal was sent before it. */
  _kept(symbols) {
    const removing = this._wanted?.removing ?? [];
    if (!removing.length) return symbols;
    for (const names of removing)
      for (const [asked, name] of names) names.set(asked, name ?? called(asked).find((one) => symbols.includes(one)));
    return symbols.filter((one) => !removing.some((names) => [...names.values()].includes(one)));
  }

  /** A frame of arrays as one of names. */
  _unfolded([kind, sequence, moment, feed, sent, ...entries]) {
    const { base, fields } = this.hello;
    const quotes = {};
    for (const [number, mask, ...values] of entries) {
      const symbol = this._names.get(number);
      if (symbol === undefined) continue;
      const quote = {};
      const told = fields.filter((_, bit) => (mask >> bit) & 1);
      const last = values[told.findIndex(({ name }) => name === "price")] ?? 0;
      told.forEach(({ name, unit, from }, k) => {
        const value = values[k];
        if (value === null) quote[name] = null;
        else if (name === "at") quote[name] = base + (moment ?? 0) - value;
        else if (name === "stale") quote[name] = value !== 0;
        else quote[name] = unit === "rupee/10000" ? (from === "price" ? value + last : value) / 10000 : value;
      });
      const held = this.latest.get(symbol);
      if ("received" in quote) quote._span = quote.received;
      const at = "at" in quote ? quote.at : held?.at, span = "_span" in quote ? quote._span : held?._span;
      if (span !== undefined) quote.received = at == null || span === null ? null : at + span;
      quotes[symbol] = quote;
    }
    const market_time = moment === null ? null : moment + base;
    return { type: KINDS[kind], sequence, market_time, feed: FEEDS[feed] ?? "UNKNOWN", sent: sent + base, quotes };
  }

  _named(symbol) {
    return called(symbol).find((name) => this.latest.has(name));
  }

  _say(message, answered) {
    if (!this.live) return;
    const id = ++this._id;
    if (answered) this._asks.set(id, answered);
    this._line.out.push(JSON.stringify({ ...message, id }));
    this._speak();
  }

  /** Send what is said, no faster than the gateway takes it. */
  _speak() {
    const line = this._line;
    if (this._speaker !== undefined) return;
    while (line.out.length && line.sent < AT_ONCE) {
      line.socket.send(line.out.shift());
      line.sent += 1;
    }
    if (!line.out.length && line.sent === 0) return;
    this._speaker = setTimeout(() => {
      this._speaker = undefined;
      line.sent = Math.max(line.sent - 1, 0);
      if (line === this._line) this._speak();
    }, 1000 / MESSAGES_A_SECOND);
  }

  _tell(kind, what) {
    for (const one of this._listeners.get(kind) ?? []) one(what);
  }
}

/** What trying again does not mend; `code`: of the close frame. */
export class Refused extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/** One value in MessagePack: what a gateway sends of it, whole numbers up to 2^53. */
export function unpack(buffer) {
  const data = new DataView(buffer), texts = new TextDecoder();
  let at = 0;
  const number = (bytes, read) => ((at += bytes), data[read](at - bytes));
  const text = (size) => ((at += size), texts.decode(new Uint8Array(buffer, at - size, size)));
  const list = (size) => Array.from({ length: size }, value);
  const map = (size) => Object.fromEntries(Array.from({ length: size }, () => [value(), value()]));
  const forms = {
    0xc0: () => null, 0xc2: () => false, 0xc3: () => true,
    0xca: () => number(4, "getFloat32"), 0xcb: () => number(8, "getFloat64"),
    0xcc: () => number(1, "getUint8"), 0xcd: () => number(2, "getUint16"), 0xce: () => number(4, "getUint32"),
    0xcf: () => Number(number(8, "getBigUint64")), 0xd0: () => number(1, "getInt8"), 0xd1: () => number(2, "getInt16"),
    0xd2: () => number(4, "getInt32"), 0xd3: () => Number(number(8, "getBigInt64")),
    0xd9: () => text(number(1, "getUint8")), 0xda: () => text(number(2, "getUint16")), 0xdb: () => text(number(4, "getUint32")),
    0xdc: () => list(number(2, "getUint16")), 0xdd: () => list(number(4, "getUint32")),
    0xde: () => map(number(2, "getUint16")), 0xdf: () => map(number(4, "getUint32")),
  };
  function value() {
    const lead = number(1, "getUint8");
    if (lead < 0x80) return lead;
    if (lead < 0x90) return map(lead & 0x0f);
    if (lead < 0xa0) return list(lead & 0x0f);
    if (lead < 0xc0) return text(lead & 0x1f);
    if (lead >= 0xe0) return lead - 0x100;
    if (!(lead in forms)) throw new Error(`no MessagePack of ours: 0x${lead.toString(16)}`);
    return forms[lead]();
  }
  return value();
}

/** What a symbol may be called in full, in the order a gateway tries them. */
function called(symbol) {
  return EXCHANGES.map((exchange) => exchange + symbol.trim().toUpperCase());
}

function full(symbol) {
  const name = symbol.trim().toUpperCase();
  return name.includes(":") ? name : `NSE:${name}`;
}
