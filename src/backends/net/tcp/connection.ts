/**
 * One end of a TCP connection: the state machine of RFC 9293 (section 3.10.7: what arrives), with window scaling (RFC 7323), recovery from
 * loss (RFC 5681, 6298, 6582) and resistance to blind resets (RFC 5961). It takes segments and timers, and gives segments and events; the
 * peer is a guest and may send anything. Memory: RECEIVE_BUFFER and what the writer leaves in the send buffer.
 *
 * Every segment with data is acknowledged at once: to hold an acknowledgement back saves a wire that is not there. There is no SACK, no
 * timestamps; urgent data counts as data.
 */
import { RECEIVE_SCALE, Receiver } from './receiver.ts';
import { RoundTrip } from './round-trip.ts';
import { segmentLength, TCP, type TcpOptions, type TcpSegment } from './segment.ts';
import { SEND_BUFFER, Sender } from './sender.ts';
import { advance, isAfter } from './sequence.ts';

export type TcpState =
  | 'listen'
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait'
  | 'closed';

/** How a connection ended. refused: a RST answered our SYN; timeout: the peer fell silent. */
export type TcpEnd = 'closed' | 'reset' | 'refused' | 'timeout';

export interface TcpEvents {
  established(): void;
  /** Bytes of the stream, good during the call; `consumed()` is owed for them. */
  data(bytes: Uint8Array): void;
  /** The peer will send no more. */
  end(): void;
  /** The send buffer has room again. */
  room(): void;
  /** Called once, last. */
  closed(how: TcpEnd): void;
}

export interface TcpTimer {
  set(ns: bigint): void;
  stop(): void;
}

export interface TcpClock {
  nowNs(): bigint;
  timer(handler: (now: bigint) => void): TcpTimer;
}

/** The way to the peer. */
export interface TcpOutput {
  /** `mss`: what of a larger payload goes into one segment on the wire. */
  segment(segment: TcpSegment, mss: number): void;
  /** Largest payload that segment() takes where a wire takes `mss`. */
  largestPayload(mss: number): number;
  /** False: the device has no room; transmit() is to be called once it has. */
  readonly isReady: boolean;
}

export interface TcpConnectionOptions {
  clock: TcpClock;
  output: TcpOutput;
  events: TcpEvents;
  localPort: number;
  remotePort: number;
  /** Initial sequence number. */
  iss: number;
  /** Largest payload that we take in a segment. */
  mss: number;
}

const DEFAULT_PEER_MSS = 536;
/** Linux's tcp_min_snd_mss: below that a peer only makes work. */
const MIN_PEER_MSS = 48;
const MAX_RETRIES = 10;
const LONGEST_TIMEOUT_NS = 60_000_000_000;
/** Two ends that disagree must not answer each other for ever (RFC 5961 section 7; Linux's tcp_invalid_ratelimit). */
const CHALLENGE_INTERVAL_NS = 500_000_000n;
/** Twice the longest life of a segment: by the book four minutes, but nothing lingers in this network. */
const TIME_WAIT_NS = 1_000_000_000n;

const EMPTY = new Uint8Array(0);

export class TcpConnection {
  readonly #clock: TcpClock;
  readonly #output: TcpOutput;
  readonly #events: TcpEvents;
  readonly #ports: { sourcePort: number; destinationPort: number };
  readonly #iss: number;
  readonly #mss: number;
  readonly #timer: TcpTimer;
  readonly #roundTrip = new RoundTrip();
  #timerIs: 'off' | 'retransmit' | 'probe' | 'time-wait' = 'off';
  #state: TcpState = 'listen';
  #peerSyn: TcpSegment | null = null;
  #receiver: Receiver | null = null;
  #sender: Sender | null = null;
  #isFinishing = false;
  /** Probes of a closed window: since it closed, and since the peer last said anything. */
  #probes = 0;
  #unanswered = 0;
  /** When an acknowledgement that answers nothing may be sent again. */
  #nextChallenge = 0n;

  constructor(options: TcpConnectionOptions) {
    this.#clock = options.clock;
    this.#output = options.output;
    this.#events = options.events;
    this.#ports = { sourcePort: options.localPort, destinationPort: options.remotePort };
    this.#iss = options.iss;
    this.#mss = options.mss;
    this.#timer = options.clock.timer(() => this.#expired());
  }

  get state(): TcpState {
    return this.#state;
  }

  /** Bytes that write() should be given at most. */
  get room(): number {
    return SEND_BUFFER - (this.#sender?.buffered ?? 0);
  }

  /** It only lingers, and a new connection between the same ends may begin (RFC 9293 section 3.6.1). */
  yieldsTo(syn: TcpSegment): boolean {
    return this.#state === 'time-wait' && isAfter(syn.seq, this.#receiver!.next);
  }

  /** Opens to the peer. */
  connect(): void {
    this.#state = 'syn-sent';
    this.#sendSyn();
  }

  /** Answers the peer's SYN. */
  accept(syn: TcpSegment): void {
    this.#takeSyn(syn);
    this.#state = 'syn-received';
    this.#sendSyn();
  }

  /** Sends bytes of the stream, which are copied. Only once established. */
  write(bytes: Uint8Array): void {
    this.#sender?.write(bytes);
    this.transmit();
  }

  /** Sends FIN after what was written. The peer can go on sending. */
  finish(): void {
    if (this.#isFinishing || this.#sender === null) return;
    this.#isFinishing = true;
    if (this.#state === 'established') this.#state = 'fin-wait-1';
    else if (this.#state === 'close-wait') this.#state = 'last-ack';
    this.#sender.finish();
    this.transmit();
  }

  /** Ends it at once, with a RST where the peer knows of it. */
  abort(): void {
    if (this.#state === 'closed') return;
    if (this.#receiver !== null && this.#state !== 'time-wait') this.#send(TCP.rst | TCP.ack, this.#seq(), EMPTY);
    this.#close('reset');
  }

  /** Whoever got data() has done with so many bytes. */
  consumed(count: number): void {
    if (this.#receiver?.consumed(count) && this.#isOpen) this.#sendAck();
  }

  /** Sends what can be sent: to be called when the output is ready again. */
  transmit(): void {
    const sender = this.#sender;
    if (sender === null || this.#state === 'closed') return;
    const largest = this.#output.largestPayload(sender.mss);
    sender.transmit(largest, () => this.#output.isReady, Number(this.#clock.nowNs()));
    this.#arm();
  }

  get #isOpen(): boolean {
    return this.#state !== 'closed' && this.#state !== 'time-wait';
  }

  receive(segment: TcpSegment): void {
    if (this.#state === 'closed' || this.#state === 'listen') return;
    if (this.#state === 'syn-sent') {
      this.#receiveInSynSent(segment);
      return;
    }
    const receiver = this.#receiver!;
    const { seq, ack, flags } = segment;
    if (this.#state === 'syn-received' && (flags & TCP.syn) !== 0 && seq === this.#peerSyn!.seq) {
      this.#sendSyn();
      return;
    }
    if (!receiver.accepts(seq, segmentLength(segment))) {
      if ((flags & TCP.rst) === 0) this.#challenge(segment);
      return;
    }
    if ((flags & TCP.rst) !== 0) {
      if (seq === receiver.next) this.#close('reset');
      else this.#challenge(segment);
      return;
    }
    if ((flags & TCP.syn) !== 0) {
      this.#challenge(segment);
      return;
    }
    if ((flags & TCP.ack) === 0) return;
    if (this.#state === 'syn-received') {
      if (ack !== advance(this.#iss, 1)) {
        this.#reset(ack);
        return;
      }
      this.#establish(segment, this.#peerSyn!.options);
    }
    if (this.#takeAck(segment)) this.#takeData(segment);
  }

  /** RFC 9293 section 3.10.7.3. */
  #receiveInSynSent(segment: TcpSegment): void {
    const { flags, ack } = segment;
    const isAnswer = (flags & TCP.ack) !== 0 && ack === advance(this.#iss, 1);
    if ((flags & TCP.ack) !== 0 && !isAnswer) {
      if ((flags & TCP.rst) === 0) this.#reset(ack);
      return;
    }
    if ((flags & TCP.rst) !== 0) {
      if (isAnswer) this.#close('refused');
      return;
    }
    if ((flags & TCP.syn) === 0) return;
    this.#takeSyn(segment);
    if (isAnswer) {
      // The window of a SYN is never scaled.
      this.#establish(segment, segment.options, 0);
      this.#sendAck();
    } else {
      this.#state = 'syn-received';
      this.#sendSyn();
    }
  }

  #takeSyn(syn: TcpSegment): void {
    this.#peerSyn = { ...syn, payload: EMPTY };
    this.#receiver = new Receiver(advance(syn.seq, 1), this.#mss);
    if (syn.options.windowScale !== undefined) this.#receiver.scale = RECEIVE_SCALE;
  }

  #establish(segment: TcpSegment, options: TcpOptions, firstShift?: number): void {
    const scale = options.windowScale ?? 0;
    this.#sender = new Sender({
      next: advance(this.#iss, 1),
      mss: Math.min(this.#mss, Math.max(MIN_PEER_MSS, options.mss ?? DEFAULT_PEER_MSS)),
      scale,
      window: segment.window << (firstShift ?? scale),
      windowSeq: segment.seq,
      roundTrip: this.#roundTrip,
      emit: (seq, payload, fin) => {
        const push = payload.length > 0 ? TCP.psh : 0;
        this.#send(TCP.ack | push | (fin ? TCP.fin : 0), seq, payload);
      },
    });
    this.#roundTrip.progress();
    this.#state = 'established';
    this.#stopTimer();
    this.#events.established();
  }

  /** False where the rest of the segment is not to be looked at. */
  #takeAck(segment: TcpSegment): boolean {
    const sender = this.#sender!;
    const { ack, window, seq, payload, flags } = segment;
    if (isAfter(ack, sender.sent)) {
      this.#challenge(segment);
      return false;
    }
    this.#unanswered = 0;
    const isPure = payload.length === 0 && (flags & TCP.fin) === 0;
    const wasFull = sender.buffered >= SEND_BUFFER / 2;
    const count = sender.acknowledge(ack, window, seq, isPure, Number(this.#clock.nowNs()));
    if (count > 0 && this.#timerIs !== 'time-wait') this.#stopTimer();
    if (window > 0) this.#probes = 0;
    if (sender.isFinished) {
      if (this.#state === 'fin-wait-1') this.#state = 'fin-wait-2';
      else if (this.#state === 'closing') this.#wait();
      else if (this.#state === 'last-ack') {
        this.#close('closed');
        return false;
      }
    }
    if (wasFull && sender.buffered < SEND_BUFFER / 2) this.#events.room();
    this.transmit();
    return this.#stillOpen();
  }

  /** Events may have ended it meanwhile. */
  #stillOpen(): boolean {
    return this.#state !== 'closed';
  }

  #takeData(segment: TcpSegment): void {
    const receiver = this.#receiver!;
    if (segmentLength(segment) === 0) return;
    const canReceive = this.#state === 'established' || this.#state === 'fin-wait-1' || this.#state === 'fin-wait-2';
    if (canReceive) {
      receiver.take(segment.seq, segment.payload, (segment.flags & TCP.fin) !== 0, bytes => this.#events.data(bytes));
      if (this.#stillOpen() && receiver.takeFin()) this.#peerFinished();
    } else if (this.#state === 'time-wait') {
      // The peer's FIN again: our acknowledgement was lost.
      this.#wait();
    }
    if (this.#stillOpen()) this.#sendAck();
  }

  #peerFinished(): void {
    if (this.#state === 'established') this.#state = 'close-wait';
    else if (this.#state === 'fin-wait-1') this.#state = 'closing';
    else if (this.#state === 'fin-wait-2') this.#wait();
    this.#events.end();
  }

  #wait(): void {
    this.#state = 'time-wait';
    this.#timerIs = 'time-wait';
    this.#timer.set(this.#clock.nowNs() + TIME_WAIT_NS);
  }

  #close(how: TcpEnd): void {
    this.#stopTimer();
    this.#state = 'closed';
    this.#events.closed(how);
  }

  #stopTimer(): void {
    this.#timerIs = 'off';
    this.#timer.stop();
  }

  /** A timer runs while something is under way, or while something waits for a window that may never be announced. */
  #arm(): void {
    const sender = this.#sender!;
    if (this.#timerIs === 'time-wait') return;
    const wanted = sender.flight > 0 ? 'retransmit' : sender.isStuck && this.#output.isReady ? 'probe' : 'off';
    if (wanted === this.#timerIs) return;
    this.#timerIs = wanted;
    if (wanted === 'off') this.#timer.stop();
    else this.#setTimer();
  }

  #setTimer(): void {
    const factor = this.#timerIs === 'probe' ? 2 ** this.#probes : 1;
    const timeout = Math.min(this.#roundTrip.timeoutNs * factor, LONGEST_TIMEOUT_NS);
    this.#timer.set(this.#clock.nowNs() + BigInt(Math.round(timeout)));
  }

  #expired(): void {
    const was = this.#timerIs;
    this.#timerIs = 'off';
    if (this.#state === 'closed') return;
    if (was === 'time-wait') {
      this.#close('closed');
    } else if (this.#sender === null) {
      this.#roundTrip.timedOut();
      if (this.#roundTrip.backoff > MAX_RETRIES) this.#giveUp();
      else this.#sendSyn();
    } else if (!this.#output.isReady) {
      // Nothing could get there: that the peer is silent says nothing.
      this.#timerIs = was;
      this.#setTimer();
    } else if (was === 'probe') {
      if (++this.#unanswered > MAX_RETRIES) {
        this.#giveUp();
        return;
      }
      this.#probes++;
      this.#sender.probe();
      this.#arm();
    } else if (was === 'retransmit') {
      if (this.#roundTrip.backoff >= MAX_RETRIES) {
        this.#giveUp();
        return;
      }
      this.#sender.timedOut();
      this.transmit();
    }
  }

  #giveUp(): void {
    if (this.#receiver !== null) this.#send(TCP.rst | TCP.ack, this.#seq(), EMPTY);
    this.#close('timeout');
  }

  /** Behind everything that was sent. */
  #seq(): number {
    return this.#sender?.sent ?? advance(this.#iss, 1);
  }

  #sendSyn(): void {
    const flags = this.#receiver === null ? TCP.syn : TCP.syn | TCP.ack;
    const options: TcpOptions = { mss: this.#mss };
    if (this.#receiver === null || this.#receiver.scale > 0) options.windowScale = RECEIVE_SCALE;
    const window = Math.min(65535, this.#receiver === null ? 65535 : this.#receiver.window() << this.#receiver.scale);
    this.#emit({ flags, seq: this.#iss, window, options, payload: EMPTY });
    this.#timerIs = 'retransmit';
    this.#setTimer();
  }

  #sendAck(): void {
    this.#send(TCP.ack, this.#seq(), EMPTY);
  }

  /** Tells a peer that sent what cannot be where we are. */
  #challenge({ payload }: TcpSegment): void {
    const now = this.#clock.nowNs();
    if (payload.length === 0 && now < this.#nextChallenge) return;
    this.#nextChallenge = now + CHALLENGE_INTERVAL_NS;
    this.#sendAck();
  }

  /** Answers a segment that cannot belong to this connection. */
  #reset(seq: number): void {
    this.#emit({ flags: TCP.rst, seq, window: 0, options: {}, payload: EMPTY, ack: 0 });
  }

  #send(flags: number, seq: number, payload: Uint8Array): void {
    this.#emit({ flags, seq, window: this.#receiver!.window(), options: {}, payload });
  }

  #emit(fields: Omit<TcpSegment, 'sourcePort' | 'destinationPort' | 'ack'> & { ack?: number }): void {
    const ack = fields.ack ?? this.#receiver?.next ?? 0;
    this.#output.segment({ ...this.#ports, ...fields, ack }, this.#sender?.mss ?? this.#mss);
  }
}
