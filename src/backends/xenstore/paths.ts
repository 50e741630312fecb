/** XenStore's path rules, as xenstored 4.17 applies them (docs/misc/xenstore.txt states them for clients). */

const VALID = /^[A-Za-z0-9\-/_@]*$/;
/** What sscanf("/local/domain/%5u/") accepts: at most five characters of number. */
const DOMAIN_PREFIX = /^\/local\/domain\/(?:[+-]\d{1,4}|\d{1,5})\//;

/** Whether this can be a node's name. `pathMax` does not count a leading /local/domain/N/. */
export function isValidNodeName(path: string, pathMax: number): boolean {
  if (path[0] !== '/') return false;
  if (path.length > 1 && path.endsWith('/')) return false;
  if (path.includes('//')) return false;
  const prefix = DOMAIN_PREFIX.exec(path)?.[0].length ?? 0;
  return path.length <= prefix + pathMax && VALID.test(path);
}

/** The parent's path; that of "/" is "/" itself. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

/** The last component. */
export function leafOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function childPath(parent: string, leaf: string): string {
  return parent === '/' ? `/${leaf}` : `${parent}/${leaf}`;
}

/** Whether `path` is `ancestor` or stands below it. */
export function isAtOrBelow(path: string, ancestor: string): boolean {
  if (ancestor === '/') return true;
  return path.startsWith(ancestor) && (path.length === ancestor.length || path[ancestor.length] === '/');
}

/** How many levels `path` stands below `ancestor`, which it must be at or below. */
export function levelsBelow(path: string, ancestor: string): number {
  const rest = ancestor === '/' ? path : path.slice(ancestor.length);
  return rest === '/' ? 0 : rest.split('/').length - 1;
}

export function domainPath(domid: number): string {
  return `/local/domain/${domid >>> 0}`;
}
