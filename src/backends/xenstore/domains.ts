/** What the store knows of each domain: whether it has been introduced, and what it uses up. */
import { domainPath } from './paths.ts';

export interface DomainRecord {
  domid: number;
  /** The store's change count when the record was made: permissions older than that were meant for a predecessor. */
  generation: number;
  introduced: boolean;
  /** Its shutdown has been announced already. */
  shutdown: boolean;
  /** The event channel port that INTRODUCE named. */
  port: number;
  nodes: number;
  watches: number;
  outstanding: number;
  memory: number;
}

/** Dom0 and the host itself: no quotas, every permission. */
export const PRIVILEGED_DOMID = 0;
export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_SELF = 0x7ff0;

export class DomainTable {
  readonly #domains = new Map<number, DomainRecord>();
  readonly #existsInXen: (domid: number) => boolean;

  constructor(existsInXen: (domid: number) => boolean) {
    this.#existsInXen = existsInXen;
  }

  find(domid: number): DomainRecord | undefined {
    return this.#domains.get(domid);
  }

  findIntroduced(domid: number): DomainRecord | undefined {
    const domain = this.#domains.get(domid);
    return domain?.introduced ? domain : undefined;
  }

  /** The record of a domain, made where the hypervisor has such a domain; undefined where it has none. */
  findOrMake(domid: number, generation: number): DomainRecord | undefined {
    const known = this.#domains.get(domid);
    if (known !== undefined) return known;
    if (domid >= DOMID_FIRST_RESERVED || !this.#existsInXen(domid)) return undefined;
    return this.add(domid, generation);
  }

  add(domid: number, generation: number): DomainRecord {
    const domain: DomainRecord = {
      domid,
      generation,
      introduced: false,
      shutdown: false,
      port: 0,
      nodes: 0,
      watches: 0,
      outstanding: 0,
      memory: 0,
    };
    this.#domains.set(domid, domain);
    return domain;
  }

  remove(domid: number): void {
    this.#domains.delete(domid);
  }

  clear(): void {
    this.#domains.clear();
  }

  restore(domain: DomainRecord): void {
    this.#domains.set(domain.domid, { ...domain });
  }

  /** Whether the domain of a permission entry is the one that the entry was written for. */
  existedAt(domid: number, generation: number): boolean {
    const domain = this.#domains.get(domid);
    return domain !== undefined && domain.generation <= generation;
  }

  values(): IterableIterator<DomainRecord> {
    return this.#domains.values();
  }
}

export function implicitPath(domain: DomainRecord | null): string {
  return domainPath(domain?.domid ?? PRIVILEGED_DOMID);
}
