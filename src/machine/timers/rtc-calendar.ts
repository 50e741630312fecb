// How the MC146818 writes date and time in its ten registers and the century byte: BCD or binary, 12 or 24 hours.

/** What register B says of the format. */
export interface RtcFormat {
  binary: boolean;
  hours24: boolean;
}

/** Registers of date and time by their addresses in the chip; 1, 3 and 5 between them are the alarm's. */
export const SECONDS = 0;
export const MINUTES = 2;
export const HOURS = 4;
export const WEEKDAY = 6;
export const DAY = 7;
export const MONTH = 8;
export const YEAR = 9;
/** In the CMOS RAM, where the FADT says it is. */
export const CENTURY = 0x32;
export const CALENDAR = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY];

const PM = 0x80;

const encode = (n: number, binary: boolean): number => (binary ? n : (Math.floor(n / 10) << 4) | (n % 10));
const decode = (n: number, binary: boolean): number => (binary ? n : (n >> 4) * 10 + (n & 0xf));

function encodeHour(hour: number, format: RtcFormat): number {
  if (format.hours24) return encode(hour, format.binary);
  return encode(hour % 12 || 12, format.binary) | (hour >= 12 ? PM : 0);
}

/** An hour register's hour, 0 to 23; more where it makes no sense. */
export function decodeHour(register: number, format: RtcFormat): number {
  if (format.hours24) return decode(register, format.binary);
  return (decode(register & ~PM, format.binary) % 12) + (register & PM ? 12 : 0);
}

export const decodeField = (register: number, format: RtcFormat): number => decode(register, format.binary);

/** Writes a time, seconds since 1970, into the registers. */
export function writeCalendar(registers: Uint8Array, seconds: number, format: RtcFormat): void {
  const date = new Date(seconds * 1000);
  const year = date.getUTCFullYear();
  const put = (register: number, value: number): void => {
    registers[register] = encode(value, format.binary);
  };
  put(SECONDS, date.getUTCSeconds());
  put(MINUTES, date.getUTCMinutes());
  registers[HOURS] = encodeHour(date.getUTCHours(), format);
  put(WEEKDAY, date.getUTCDay() + 1);
  put(DAY, date.getUTCDate());
  put(MONTH, date.getUTCMonth() + 1);
  put(YEAR, year % 100);
  put(CENTURY, Math.floor(year / 100));
}

/** The time in the registers, seconds since 1970. What is out of range is carried over, so any content is some time. */
export function readCalendar(registers: Uint8Array, format: RtcFormat): number {
  const get = (register: number): number => decode(registers[register], format.binary);
  const date = new Date(0);
  date.setUTCFullYear(get(CENTURY) * 100 + get(YEAR), get(MONTH) - 1, get(DAY));
  date.setUTCHours(decodeHour(registers[HOURS], format), get(MINUTES), get(SECONDS));
  return date.getTime() / 1000;
}
