/* Many WebSocket clients in one thread: counts frames, rows and bytes, reads time stamps, reconciles by seq.
 *
 * One written in Python would be the bottleneck of every measurement. For loopback only.
 *
 *   loadgen PORT PATH SUBPROTOCOL COMMANDS ANSWERS [CHECK_EVERY]
 *
 * COMMANDS is a file with one entry for each connection: a little-endian uint32 length, then the bytes that are sent
 * once the handshake is done (masked frames, or none). ANSWERS is how many control messages (maps, or text) come before
 * a connection counts as answered; -1: the connections never read anything.
 *
 * Binary messages are those of ticker.v1.msgpack: an array is a data message (a peer may join several in one WebSocket
 * message), its rows count, its newest row's time (first column, microseconds) is the stamp. A connection in
 * CHECK_EVERY (default 100) decodes every row and follows each channel's seq: every message must begin where the one
 * before ended. With `check_sum` all its values enter a sum that depends on their order, see `add_up`.
 *
 * It says `ready N` when all N connections are open and have been answered, then reads lines from stdin: `start` sets
 * the counters to zero, `stop` prints them as one line of JSON, end of file ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHANNELS = 1 << 16, READ = 1 << 18, AT_ONCE = 32 };

typedef struct {
    int fd, open, closed;
    uint8_t *kept; /* an incomplete frame */
    size_t kept_size, kept_room;
    uint64_t rows, quiet_us; /* quiet: when a data message last came */
    uint64_t longest_us;     /* the longest time between two */
    int64_t *next;                   /* by channel: the seq that must come, of connections that are checked */
} Connection;

static Connection *connections;
static int count, answered, lost;
static uint64_t messages, rows, bytes, violations, wakeups, check_sum, started_us, first_us, last_us;
static uint64_t histogram[64 * 64]; /* of latencies in microseconds: 64 steps for each power of two */
static int answers;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void note_latency(uint64_t us) {
    int power = us < 64 ? 0 : 58 - __builtin_clzll(us);
    histogram[power * 64 + ((us >> power) & 63)]++;
}

static double percentile(double share) {
    uint64_t total = 0, sum = 0;
    for (int i = 0; i < 64 * 64; i++) total += histogram[i];
    for (int i = 0; i < 64 * 64; i++)
        if (total && (sum += histogram[i]) >= share * total) return (double)((uint64_t)(i & 63) << (i / 64));
    return 0;
}

/* Read a msgpack integer; return the byte behind it. */
static const uint8_t *integer(const uint8_t *p, int64_t *value) {
    uint8_t kind = *p++;
    int size = 0;
    if (kind < 0x80) { *value = kind; return p; }
    if (kind >= 0xe0) { *value = (int8_t)kind; return p; }
    switch (kind) {
    case 0xcc: case 0xd0: size = 1; break;
    case 0xcd: case 0xd1: size = 2; break;
    case 0xce: case 0xd2: size = 4; break;
    case 0xcf: case 0xd3: size = 8; break;
    default: fprintf(stderr, "not an integer: %02x\n", kind); exit(1);
    }
    uint64_t bits = 0;
    for (int i = 0; i < size; i++) bits = bits << 8 | *p++;
    if (kind >= 0xd0) bits = (uint64_t)((int64_t)(bits << (64 - 8 * size)) >> (64 - 8 * size));
    *value = (int64_t)bits;
    return p;
}

typedef struct {
    int64_t base; /* 0 where the values are floats, which only pass by */
    const uint8_t *offsets;
    int width, floats;
} Column;

/* Read a column of n rows; return the byte behind it. */
static const uint8_t *column(const uint8_t *p, int64_t n, Column *c) {
    c->floats = *p == 0xca || *p == 0xcb;
    c->base = 0;
    p = c->floats ? p + (*p == 0xca ? 5 : 9) : integer(p, &c->base);
    uint32_t size = 0;
    if (*p == 0xc4) { size = p[1]; p += 2; }
    else if (*p == 0xc5) { size = p[1] << 8 | p[2]; p += 3; }
    else if (*p == 0xc6) { size = (uint32_t)p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4]; p += 5; }
    else { fprintf(stderr, "not a bin: %02x\n", *p); exit(1); }
    c->offsets = p;
    c->width = size / n;
    return p + size;
}

static uint64_t value_at(const Column *c, int64_t i) {
    uint64_t offset = 0;
    memcpy(&offset, c->offsets + i * c->width, c->width);
    return c->base + offset;
}

/* Add each value of a column, times the number of its row and that of its column, to the sum (modulo 2^64). */
static void add_up(const Column *c, int number, int64_t seq, int64_t n) {
    for (int64_t i = 0; i < n; i++) check_sum += (uint64_t)(seq + i + 1) * (number + 1) * value_at(c, i);
}

/* Take a data message, an array of 3 + 2 * columns; return the byte behind it. */
static const uint8_t *data_message(Connection *c, const uint8_t *p, int columns, uint64_t now) {
    int64_t channel, seq, n, rows_for;
    Column each;
    p = integer(p, &channel);
    p = integer(p, &seq);
    p = integer(p, &n);
    rows_for = n;
    for (int i = 0; i < columns; i++) {
        p = column(p, n, &each);
        if (c->next && !each.floats) add_up(&each, i, seq, n);
        if (i == 0) {
            uint64_t stamp = value_at(&each, n - 1);
            note_latency(now > stamp ? now - stamp : 0);
        }
    }
    if (columns == 8 || columns == 6) { /* conflated: the last column tells how many rows each stands for */
        rows_for = 0;
        for (int64_t i = 0; i < n; i++) rows_for += value_at(&each, i);
    }
    messages++;
    rows += rows_for;
    c->rows += rows_for;
    if (c->next && channel < CHANNELS) {
        if (c->next[channel] >= 0 && c->next[channel] != seq) violations++;
        c->next[channel] = seq + rows_for;
    }
    return p;
}

static void message(Connection *c, int opcode, const uint8_t *p, size_t size, uint64_t now) {
    if (opcode == 8) { c->closed = 1; return; }
    if (opcode == 9) { /* a ping: answer with a pong, masked with zeros */
        uint8_t pong[2 + 4 + 125] = {0x8a, 0x80 | (uint8_t)size};
        memcpy(pong + 6, p, size);
        if (send(c->fd, pong, 6 + size, MSG_NOSIGNAL) < 0 && errno != EAGAIN) c->closed = 1;
        return;
    }
    if (opcode != 1 && opcode != 2) return;
    if (opcode == 1 || !(*p >> 4 == 9 || *p == 0xdc)) {
        if (c->open < answers && ++c->open == answers) answered++;
        return;
    }
    if (!first_us) first_us = now;
    last_us = now;
    if (c->quiet_us && now - c->quiet_us > c->longest_us) c->longest_us = now - c->quiet_us;
    c->quiet_us = now;
    for (const uint8_t *end = p + size; p < end;) {
        int items = *p == 0xdc ? p[1] << 8 | p[2] : *p & 15;
        p = data_message(c, *p == 0xdc ? p + 3 : p + 1, (items - 3) / 2, now);
    }
}

/* Take whole frames; return how many bytes they were. */
static size_t take(Connection *c, const uint8_t *p, size_t size, uint64_t now) {
    size_t done = 0;
    while (size - done >= 2) {
        const uint8_t *f = p + done;
        size_t head = 2, length = f[1] & 127;
        if (length == 126) {
            if (size - done < 4) break;
            length = f[2] << 8 | f[3];
            head = 4;
        } else if (length == 127) {
            if (size - done < 10) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | f[i];
            head = 10;
        }
        if (size - done < head + length) break;
        message(c, f[0] & 15, f + head, length, now);
        done += head + length;
    }
    return done;
}

static void drop(Connection *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    lost++;
}

static void readable(Connection *c, uint8_t *buffer) {
    memcpy(buffer, c->kept, c->kept_size);
    ssize_t got = recv(c->fd, buffer + c->kept_size, READ, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { drop(c); return; }
    bytes += got;
    wakeups++;
    size_t size = c->kept_size + got, done = take(c, buffer, size, now_us());
    c->kept_size = size - done;
    if (c->kept_size > c->kept_room) {
        c->kept_room = c->kept_size * 2;
        c->kept = realloc(c->kept, c->kept_room);
    }
    memcpy(c->kept, buffer + done, c->kept_size);
}

static void send_all(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, (const char *)data + done, size - done, 0);
        if (sent <= 0) fail("send");
        done += sent;
    }
}

/* Open a connection and ask for a WebSocket. */
static void ask(Connection *c, int port, const char *path, const char *subprotocol) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&address, sizeof address)) fail("connect");
    char request[1024], offer[128] = "";
    if (*subprotocol) snprintf(offer, sizeof offer, "Sec-WebSocket-Protocol: %s\r\n", subprotocol);
    int size = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, port, offer);
    send_all(c->fd, request, size);
}

/* Read the answer, keep what came behind it, and send the command. */
static void join(Connection *c, FILE *commands) {
    char answer[4096];
    size_t got = 0;
    char *end = NULL;
    while (!end) {
        ssize_t n = recv(c->fd, answer + got, sizeof answer - 1 - got, 0);
        if (n <= 0) fail("handshake");
        got += n;
        answer[got] = 0;
        end = strstr(answer, "\r\n\r\n");
    }
    if (strncmp(answer, "HTTP/1.1 101", 12)) { fprintf(stderr, "refused: %.80s\n", answer); exit(1); }
    end += 4;
    c->kept_size = got - (end - answer);
    c->kept_room = c->kept_size + 64;
    c->kept = malloc(c->kept_room);
    memcpy(c->kept, end, c->kept_size);
    uint32_t length;
    if (fread(&length, 4, 1, commands) == 1 && length) {
        char *data = malloc(length);
        if (fread(data, 1, length, commands) != length) fail("commands");
        send_all(c->fd, data, length);
        free(data);
        if (answers <= 0) answered++;
    } else { c->open = answers; answered++; }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void reset(void) {
    messages = rows = bytes = violations = wakeups = check_sum = 0;
    memset(histogram, 0, sizeof histogram);
    first_us = last_us = 0;
    started_us = now_us();
    for (int i = 0; i < count; i++) {
        connections[i].rows = connections[i].longest_us = 0;
        connections[i].quiet_us = started_us;
        for (int j = 0; connections[i].next && j < CHANNELS; j++) connections[i].next[j] = -1;
    }
}

static void report(void) {
    uint64_t least = UINT64_MAX, most = 0, longest = 0, now = now_us();
    for (int i = 0; i < count; i++) {
        Connection *c = &connections[i];
        if (c->rows < least) least = c->rows;
        if (c->rows > most) most = c->rows;
        uint64_t quiet = now - c->quiet_us > c->longest_us ? now - c->quiet_us : c->longest_us;
        if (quiet > longest) longest = quiet;
    }
    double since = started_us / 1e6;
    printf("{\"connections\": %d, \"lost\": %d, \"seconds\": %.6f, \"first_s\": %.6f, \"last_s\": %.6f, \"messages\": %lu, "
           "\"rows\": %lu, \"bytes\": %lu, \"wakeups\": %lu, \"violations\": %lu, \"check_sum\": %lu, "
           "\"least_rows\": %lu, \"most_rows\": %lu, \"longest_silence_ms\": %.1f, "
           "\"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f}\n",
           count, lost, now / 1e6 - since, first_us / 1e6 - since, last_us / 1e6 - since, messages,
           rows, bytes, wakeups, violations, check_sum, least, most, longest / 1e3,
           percentile(.5) / 1e3, percentile(.9) / 1e3, percentile(.99) / 1e3, percentile(.999) / 1e3);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 6) { fprintf(stderr, "see the head of loadgen.c\n"); return 2; }
    int port = atoi(argv[1]), check_every = argc > 6 ? atoi(argv[6]) : 100;
    answers = atoi(argv[5]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    FILE *commands = fopen(argv[4], "rb");
    if (!commands) fail(argv[4]);
    for (uint32_t length; fread(&length, 4, 1, commands) == 1; count++) fseek(commands, length, SEEK_CUR);
    rewind(commands);
    connections = calloc(count, sizeof *connections);
    uint8_t *buffer = malloc(READ + (64 << 20));
    int poller = epoll_create1(0);
    struct epoll_event event, events[256];
    for (int i = 0; i < count; i++) {
        Connection *c = &connections[i];
        for (int j = i; i % AT_ONCE == 0 && j < i + AT_ONCE && j < count; j++) ask(&connections[j], port, argv[2], argv[3]);
        join(c, commands);
        if (check_every && i % check_every == 0) {
            c->next = malloc(CHANNELS * sizeof *c->next);
            for (int j = 0; j < CHANNELS; j++) c->next[j] = -1;
        }
        if (answers < 0) continue;
        size_t done = take(c, c->kept, c->kept_size, now_us());
        memmove(c->kept, c->kept + done, c->kept_size -= done);
        event = (struct epoll_event){.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
        for (int n = 256; i % AT_ONCE == 0 && n == 256;) { /* those that are there are served, however long others take */
            n = epoll_wait(poller, events, 256, 0);
            for (int j = 0; j < n; j++) readable(events[j].data.ptr, buffer);
        }
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* a line that was read ahead would wake nobody */
    event = (struct epoll_event){.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    reset();
    for (int told = 0;;) {
        if (!told && answered == count) {
            told = printf("ready %d\n", count);
            fflush(stdout);
        }
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) { readable(events[i].data.ptr, buffer); continue; }
            char line[64];
            if (!fgets(line, sizeof line, stdin)) return 0;
            if (!strncmp(line, "start", 5)) reset();
            if (!strncmp(line, "stop", 4)) report();
        }
    }
}
