// Pages of requests, mapped. Where the front end keeps its grants for further requests (feature-persistent), so do we: mapping is what costs.
import type { FrontendDomain, GrantedPage } from '../xenbus/frontend-domain.ts';

export class RequestPages {
  private readonly domain: FrontendDomain;
  /** Mappings to keep at most; 0 where the front end does not reuse its grants. */
  private readonly most: number;
  private readonly kept = new Map<number, GrantedPage>();
  private readonly held = new Set<GrantedPage>();

  constructor(domain: FrontendDomain, most: number) {
    this.domain = domain;
    this.most = most;
  }

  /** Throws FrontendError where the grant is not one for us. Pages of persistent grants are writable, whoever asks. */
  take(ref: number, readonly: boolean): GrantedPage {
    const known = this.kept.get(ref);
    if (known) return known;
    const isKept = this.kept.size < this.most;
    const page = this.domain.map(ref, readonly && this.most === 0);
    if (isKept) this.kept.set(ref, page);
    else this.held.add(page);
    return page;
  }

  /** The request is done. Before its response is seen: the front end takes back what is not kept. */
  give(pages: Iterable<GrantedPage>): void {
    for (const page of pages) if (this.held.delete(page)) page.release();
  }

  /** Gives everything back, also what requests hold that are not done. */
  close(): void {
    for (const page of [...this.kept.values(), ...this.held]) page.release();
    this.kept.clear();
    this.held.clear();
  }
}
