// Answers a guest's questions about names with what the host's resolver says: addresses (A, AAAA) and names of IPv4 addresses (PTR). Every question
// gets an answer: SERVFAIL where the host's takes too long or too many wait. Source: RFC 1035.
import { ipv4Text, parseIpv4, set32 } from '../packet/addresses.ts';
import {
  DNS_CLASS_INTERNET,
  DNS_STATUS,
  DNS_TYPE,
  type DnsQuestion,
  dnsAnswer,
  dnsStatus,
  encodeDnsName,
  parseDnsQuery,
  parseIpv6,
} from '../packet/dns.ts';
import type { TcpClock } from '../tcp/connection.ts';
import type { HostSockets, NameAnswer } from './host-sockets.ts';
import { isInside, type Subnet } from './subnet.ts';

const MAX_WAITING = 64;
const TIMEOUT_NS = 5_000_000_000n;
const TTL_SECONDS = 60;

const NAME = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;
const REVERSE = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/i;

type Reply = (message: Uint8Array) => void;

export class DnsForwarder {
  readonly #sockets: Pick<HostSockets, 'resolve'>;
  readonly #clock: TcpClock;
  readonly #subnet: Subnet;
  #waiting = 0;

  constructor(sockets: Pick<HostSockets, 'resolve'>, clock: TcpClock, subnet: Subnet) {
    this.#sockets = sockets;
    this.#clock = clock;
    this.#subnet = subnet;
  }

  /** Questions that the host has not answered yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /** A message to port 53. `reply` is called at most once, at once or later. */
  receive(message: Uint8Array, reply: Reply): void {
    const query = parseDnsQuery(message);
    if (query === null) return;
    if ('status' in query) {
      reply(dnsStatus(query, query.status));
      return;
    }
    const asked = this.#asked(query);
    if (typeof asked === 'number') reply(dnsStatus(query, asked));
    else if (this.#waiting >= MAX_WAITING) reply(dnsStatus(query, DNS_STATUS.serverFailure));
    else this.#ask(query, asked, reply);
  }

  /** What the host's resolver is to be asked, or the status that is the answer already. */
  #asked({ name, type, class: kind }: DnsQuestion): { name: string; type: 'A' | 'AAAA' | 'PTR' } | number {
    if (kind !== DNS_CLASS_INTERNET) return DNS_STATUS.notImplemented;
    if (type === DNS_TYPE.a || type === DNS_TYPE.aaaa) {
      return NAME.test(name) ? { name, type: type === DNS_TYPE.a ? 'A' : 'AAAA' } : DNS_STATUS.noSuchName;
    }
    if (type !== DNS_TYPE.ptr) return DNS_STATUS.notImplemented;
    const reversed = REVERSE.exec(name);
    const address = reversed && parseIpv4(reversed.slice(1).reverse().join('.'));
    // Who is who in the guests' own network the host does not know.
    if (address === null || isInside(this.#subnet, address)) return DNS_STATUS.noSuchName;
    return { name: ipv4Text(address), type: 'PTR' };
  }

  #ask(query: DnsQuestion, asked: { name: string; type: 'A' | 'AAAA' | 'PTR' }, reply: Reply): void {
    this.#waiting++;
    let isDone = false;
    const done = (answer: Uint8Array): void => {
      if (isDone) return;
      isDone = true;
      this.#waiting--;
      timer.stop();
      reply(answer);
    };
    const timer = this.#clock.timer(() => done(dnsStatus(query, DNS_STATUS.serverFailure)));
    timer.set(this.#clock.nowNs() + TIMEOUT_NS);
    this.#sockets.resolve(asked.name, asked.type, answer => done(messageOf(query, answer)));
  }
}

function messageOf(query: DnsQuestion, { status, values }: NameAnswer): Uint8Array {
  if (status === 'failed') return dnsStatus(query, DNS_STATUS.serverFailure);
  if (status === 'no-such-name') return dnsStatus(query, DNS_STATUS.noSuchName);
  const records = values.map(value => recordOf(query.type, value)).filter(record => record !== null);
  return dnsAnswer(query, DNS_STATUS.ok, records, TTL_SECONDS);
}

function recordOf(type: number, value: string): Uint8Array | null {
  if (type === DNS_TYPE.ptr) return encodeDnsName(value);
  if (type === DNS_TYPE.aaaa) return parseIpv6(value);
  const address = parseIpv4(value);
  if (address === null) return null;
  const bytes = new Uint8Array(4);
  set32(bytes, 0, address);
  return bytes;
}
