/* The guest's part of bench/suite.ts: a static program that the kernel starts as init. Each part says when it begins, when its first turn of
   several is done and when it ends, for whoever times it from outside, with a checksum that must be the same wherever it ran. An emulator
   that compiles is at its speed after the first turn. gcc -O2 -static -o suite suite.c */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint32_t u32;
typedef uint64_t u64;

static u64 seed = 88172645463325252ull;
static u64 next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

static u64 integer_loops(void) {
  u64 longest = 0;
  for (u64 n = 1; n < 300000; n++) {
    u64 steps = 0;
    for (u64 x = n; x != 1; steps++) x = x & 1 ? 3 * x + 1 : x >> 1;
    if (steps > longest) longest = steps;
  }
  static unsigned char composite[2000000];
  u64 primes = 0;
  for (u32 i = 2; i < sizeof composite; i++) {
    if (composite[i]) continue;
    primes++;
    for (u64 j = (u64)i * i; j < sizeof composite; j += i) composite[j] = 1;
  }
  return longest * 1000003 + primes;
}

static unsigned char block[1 << 20];

static u64 hashes(void) {
  static u32 table[256];
  for (u32 i = 0; i < 256; i++) {
    u32 c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  for (size_t i = 0; i < sizeof block; i++) block[i] = next_random();
  u32 crc = ~0u;
  u64 mixed = 14695981039346656037ull;
  for (int round = 0; round < 24; round++) {
    for (size_t i = 0; i < sizeof block; i++) crc = table[(crc ^ block[i]) & 255] ^ (crc >> 8);
    for (size_t i = 0; i < sizeof block; i += 8) {
      u64 word;
      memcpy(&word, block + i, 8);
      mixed = (mixed ^ word) * 1099511628211ull;
      mixed ^= mixed >> 29;
    }
  }
  return mixed ^ crc;
}

static int compare(const void *a, const void *b) {
  u32 x = *(const u32 *)a, y = *(const u32 *)b;
  return (x > y) - (x < y);
}

static u64 sorting(void) {
  enum { N = 300000 };
  static u32 values[N];
  u64 sum = 0;
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < N; i++) values[i] = next_random();
    qsort(values, N, sizeof *values, compare);
    for (int i = 0; i < N; i += 97) sum = sum * 31 + values[i];
  }
  return sum;
}

static u64 matrices(void) {
  enum { N = 180 };
  static double a[N][N], b[N][N], c[N][N];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      a[i][j] = 1.0 / (1 + i + j);
      b[i][j] = (i * 7 + j * 3) % 11 / 3.0;
    }
  for (int round = 0; round < 3; round++)
    for (int i = 0; i < N; i++)
      for (int k = 0; k < N; k++)
        for (int j = 0; j < N; j++) c[i][j] += a[i][k] * b[k][j];
  double trace = 0;
  for (int i = 0; i < N; i++) trace += c[i][i];
  u64 bits;
  memcpy(&bits, &trace, 8);
  return bits;
}

static u64 copying(void) {
  static unsigned char to[sizeof block];
  u64 sum = 0;
  for (int round = 0; round < 400; round++) {
    memset(to, round, sizeof to / 2);
    memcpy(to + (round & 15), block, sizeof block - 64);
    for (int i = 0; i < 4000; i++) memcpy(to + 64 * i, block + 32 * i, 17 + (i & 63));
    sum = sum * 31 + to[round * 977 % sizeof to];
  }
  return sum;
}

static u64 chasing(void) {
  enum { N = 1 << 19 };
  u32 *next = malloc(N * sizeof *next);
  for (u32 i = 0; i < N; i++) next[i] = i;
  for (u32 i = N - 1; i > 0; i--) {
    u32 j = next_random() % i, t = next[i];
    next[i] = next[j];
    next[j] = t;
  }
  u32 at = 0;
  u64 sum = 0;
  for (int i = 0; i < 6000000; i++) sum += at = next[at];
  free(next);
  return sum;
}

static u64 fibonacci(u64 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
static u64 op_add(u64 x, u64 y) { return x + y; }
static u64 op_xor(u64 x, u64 y) { return x ^ (y << 1); }
static u64 op_mul(u64 x, u64 y) { return x * (y | 1); }
static u64 op_sub(u64 x, u64 y) { return x - y; }

static u64 calls(void) {
  static u64 (*volatile const ops[])(u64, u64) = {op_add, op_xor, op_mul, op_sub};
  u64 x = fibonacci(33);
  for (u64 i = 0; i < 20000000; i++) x = ops[(i ^ x) & 3](x, i);
  return x;
}

static u64 strings(void) {
  static char text[65536], copy[65536];
  for (size_t i = 0; i < sizeof text - 1; i++) text[i] = 'a' + next_random() % 23;
  u64 sum = 0;
  for (int round = 0; round < 500; round++) {
    text[round * 131 % (sizeof text - 1)] = 'z';
    sum += strlen(text);
    strcpy(copy, text);
    sum += strcmp(copy, text) == 0;
    for (char *at = text; (at = strchr(at, 'z')); at++) sum += at - text;
    sum += (u64)(strstr(text, "qrstuvw") != NULL);
    for (int i = 0; i < 300; i++) sum += strlen(text + sizeof text - 2 - i % 60) + memcmp(text + i, copy + i, 24);
  }
  char line[64];
  for (int i = 0; i < 60000; i++) sum += snprintf(line, sizeof line, "%d %s %x", i, "word", i * 7) + line[3];
  return sum;
}

/* LZ77 with a hash of three bytes. */
static u64 compression(void) {
  static unsigned char in[1 << 18], out[1 << 19];
  static u32 heads[1 << 15];
  for (size_t i = 0; i < sizeof in; i++) in[i] = i > 300 && next_random() % 5 ? in[i - 300 + (next_random() % 3)] : next_random() % 40;
  u64 total = 0;
  for (int round = 0; round < 12; round++) {
    memset(heads, 0, sizeof heads);
    size_t n = 0;
    for (size_t i = 0; i + 4 < sizeof in;) {
      u32 key = (in[i] | in[i + 1] << 8 | in[i + 2] << 16) * 2654435761u >> 17;
      size_t from = heads[key], length = 0;
      heads[key] = i;
      while (from < i && i + length < sizeof in && length < 255 && in[from + length] == in[i + length]) length++;
      if (length >= 4) {
        out[n++] = 255;
        out[n++] = length;
        out[n++] = i - from;
        i += length;
      } else out[n++] = in[i++];
    }
    u32 a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
      a = (a + out[i]) % 65521;
      b = (b + a) % 65521;
    }
    total = total * 31 + (b << 16 | a);
  }
  return total;
}

static u64 floating_sse(void) {
  double x = 0.1, sum = 0;
  float f = 1.5f;
  for (int i = 1; i < 4000000; i++) {
    x = x * 3.7 * (1 - x);
    sum += x / i + (double)f;
    f = f * 0.75f + (float)(i & 7);
    if (sum > 1e6) sum -= 1e6;
  }
  u64 bits;
  memcpy(&bits, &sum, 8);
  return bits;
}

static u64 floating_x87(void) {
  long double x = 0.1L, sum = 0;
  for (int i = 1; i < 1000000; i++) {
    x = x * 3.7L * (1 - x);
    sum += x / i;
    if (sum > 1e6L) sum -= 1e6L;
  }
  double low = sum;
  u64 bits;
  memcpy(&bits, &low, 8);
  return bits;
}

static u64 system_calls(void) {
  u64 n = 0;
  for (int i = 0; i < 300000; i++) n += syscall(SYS_getppid) == 0;
  return n;
}

static u64 forks(void) {
  u64 n = 0;
  for (int i = 0; i < 150; i++) {
    pid_t child = fork();
    if (child == 0) _exit(i & 7);
    int status;
    waitpid(child, &status, 0);
    n += WEXITSTATUS(status);
  }
  for (int i = 0; i < 60; i++) {
    pid_t child = fork();
    if (child == 0) {
      execl("/init", "/init", "--nothing", NULL);
      _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    n += WEXITSTATUS(status);
  }
  return n;
}

static u64 page_faults(void) {
  u64 n = 0;
  for (int round = 0; round < 20; round++) {
    size_t size = 8 << 20;
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < size; i += 4096) at[i] = i >> 12;
    n += at[size - 4096] & 255;
    munmap(at, size);
  }
  return n;
}

static u64 pipes(void) {
  int there[2], back[2];
  if (pipe(there) || pipe(back)) return 0;
  pid_t child = fork();
  u64 token = 0;
  if (child == 0) {
    while (read(there[0], &token, 8) == 8 && token < 1000000) {
      token++;
      if (write(back[1], &token, 8) != 8) break;
    }
    _exit(0);
  }
  for (int i = 0; i < 20000; i++) {
    if (write(there[1], &token, 8) != 8 || read(back[0], &token, 8) != 8) return 0;
  }
  u64 end = 1000000;
  if (write(there[1], &end, 8) != 8) return 0;
  waitpid(child, NULL, 0);
  for (int i = 0; i < 2; i++) close(there[i]), close(back[i]);
  return token;
}

static volatile int caught;
static void on_signal(int signal) { caught += signal == SIGUSR1; }
static u64 signals(void) {
  signal(SIGUSR1, on_signal);
  for (int i = 0; i < 60000; i++) raise(SIGUSR1);
  return caught;
}

static u64 files(void) {
  u64 sum = 0;
  char name[32];
  for (int round = 0; round < 60; round++) {
    for (int i = 0; i < 20; i++) {
      snprintf(name, sizeof name, "/tmp/f%d", i);
      int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
      for (int k = 0; k < 16; k++)
        if (write(fd, block + 4096 * k, 4096) != 4096) return 0;
      lseek(fd, 0, SEEK_SET);
      char buffer[4096];
      for (int k = 0; k < 16; k++)
        if (read(fd, buffer, sizeof buffer) == sizeof buffer) sum += (unsigned char)buffer[k * 100];
      close(fd);
      struct stat about;
      if (stat(name, &about) == 0) sum += about.st_size;
      unlink(name);
    }
  }
  return sum;
}

/* Turns, so that the processor's parts take a second or more in QEMU. */
static const struct {
  const char *name;
  u64 (*run)(void);
  int turns;
} parts[] = {
    {"integer", integer_loops, 10},
    {"hash", hashes, 10},
    {"sort", sorting, 5},
    {"matrix", matrices, 10},
    {"copy", copying, 5},
    {"chase", chasing, 10},
    {"calls", calls, 8},
    {"strings", strings, 5},
    {"compress", compression, 20},
    {"float-sse", floating_sse, 10},
    {"float-x87", floating_x87, 5},
    {"syscall", system_calls, 2},
    {"fork", forks, 2},
    {"fault", page_faults, 2},
    {"pipe", pipes, 2},
    {"signal", signals, 2},
    {"file", files, 2},
};

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--nothing") == 0) return 3;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (getpid() != 1) return 2; /* it mounts and powers off: for a guest alone */
  mkdir("/tmp", 0777);
  mount("none", "/tmp", "tmpfs", 0, NULL);
  const char *only = getenv("parts");
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (only && !strstr(only, parts[i].name)) continue;
    printf("suite: begin %s\n", parts[i].name);
    u64 sum = parts[i].run();
    printf("suite: turn %s\n", parts[i].name);
    for (int turn = 1; turn < parts[i].turns; turn++) sum = sum * 31 + parts[i].run();
    printf("suite: end %s %016llx\n", parts[i].name, (unsigned long long)sum);
  }
  printf("suite: done\n");
  fflush(stdout);
  reboot(RB_POWER_OFF);
  return 0;
}
