// What a back end has of the domain that its front end runs in: pages that it grants, and event channels. The toolstack makes one from what the
// hypervisor offers; everything in a granted page can change at any time.
import type { HostPort } from '../../hypervisor/events/host-port.ts';
import type { SharedPage } from '../../protocols/shared-page.ts';

/** A page that the front end granted, until release(). */
export interface GrantedPage extends SharedPage {
  /** To be called after writing where the page may hold code: offset and length within it. */
  wrote(offset: number, length: number): void;
  /** Gives it back; calling it again does nothing. */
  release(): void;
}

export interface FrontendDomain {
  readonly id: number;
  /** Maps a granted page. Throws FrontendError where the grant is not one for us. */
  map(ref: number, readonly: boolean): GrantedPage;
  /** Binds to a port that the front end left open for us; `onEvent` is not called after close(). Throws FrontendError where it is none. */
  bind(port: number, onEvent: () => void): HostPort;
}

/** Maps the pages of a ring, all or none. */
export function mapAll(domain: FrontendDomain, refs: readonly number[]): GrantedPage[] {
  const pages: GrantedPage[] = [];
  try {
    for (const ref of refs) pages.push(domain.map(ref, false));
    return pages;
  } catch (error) {
    for (const page of pages) page.release();
    throw error;
  }
}
