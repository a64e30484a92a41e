/* The limit: a program that does nothing but call `send` with finished frames. See play.py for the script it plays.
 *
 *   send PORT SCRIPT tick|joined CLIENTS
 *
 * Accepts CLIENTS WebSocket connections one after the other, takes what each wants, and from then on plays a segment
 * for each SIGUSR2. One thread; what a socket doesn't take at once it waits for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TOPICS = 1 << 16, STAMP = 9, FRAME = 1 << 20 };

typedef struct {
    int *fds, count, room;
} Group; /* who gets the same */

typedef struct {
    uint16_t *topics;
    int count;
    char *name;
    Group group;
} Wish;

static Group by_topic[TOPICS];
static Wish *wishes;
static int wish_count;
static const uint8_t *payload_of[TOPICS];
static uint16_t size_of[TOPICS];

static uint64_t clock_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void add(Group *group, int fd) {
    if (group->count == group->room) group->fds = realloc(group->fds, (group->room = group->room * 2 + 8) * sizeof(int));
    group->fds[group->count++] = fd;
}

static void send_all(int fd, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd free = {.fd = fd, .events = POLLOUT};
            poll(&free, 1, -1);
        } else if (sent < 0) return;
        else { data += sent; size -= sent; }
    }
}

/* Write a binary frame's header before `payload`, which has room there; return where it begins. */
static uint8_t *head(uint8_t *payload, size_t size) {
    if (size < 126) { payload[-2] = 0x82; payload[-1] = size; return payload - 2; }
    if (size < 65536) { payload[-4] = 0x82; payload[-3] = 126; payload[-2] = size >> 8; payload[-1] = size; return payload - 4; }
    payload[-10] = 0x82;
    payload[-9] = 127;
    for (int i = 0; i < 8; i++) payload[-8 + i] = (uint64_t)size >> (56 - 8 * i);
    return payload - 10;
}

static void broadcast(const Group *group, const uint8_t *frame, size_t size) {
    for (int i = 0; i < group->count; i++) send_all(group->fds[i], frame, size);
}

static void read_exactly(int fd, uint8_t *to, size_t size) {
    for (ssize_t got; size; to += got, size -= got)
        if ((got = recv(fd, to, size, 0)) <= 0) fail("recv");
}

/* SHA-1 of a key is always the same for the one key that the load generator sends. */
static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void welcome(int listener) {
    int fd = accept(listener, NULL, NULL), one = 1;
    if (fd < 0) fail("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char request[4096] = "";
    for (int got = 0; !strstr(request, "\r\n\r\n"); got++) read_exactly(fd, (uint8_t *)request + got, 1);
    send_all(fd, (const uint8_t *)ANSWER, sizeof ANSWER - 1);
    uint8_t start[8];
    read_exactly(fd, start, 2);
    int size = start[1] & 127;
    if (size == 126) { read_exactly(fd, start, 2); size = start[0] << 8 | start[1]; }
    read_exactly(fd, start, 4); /* the mask: zeros */
    char *command = calloc(1, size + 1);
    read_exactly(fd, (uint8_t *)command, size);
    int wish = 0;
    while (wish < wish_count && strcmp(wishes[wish].name, command)) wish++;
    if (wish == wish_count) {
        wishes = realloc(wishes, ++wish_count * sizeof *wishes);
        wishes[wish] = (Wish){.name = strdup(command), .topics = malloc(size * 2 + 2)};
        for (char *p = command; *p; p += *p == ',') wishes[wish].topics[wishes[wish].count++] = strtol(p, &p, 10);
    }
    add(&wishes[wish].group, fd);
    for (int i = 0; i < wishes[wish].count; i++) add(&by_topic[wishes[wish].topics[i]], fd);
    free(command);
    send_all(fd, (const uint8_t *)"\x81\x02ok", 4);
}

static uint32_t number(const uint8_t **p) {
    uint32_t value;
    memcpy(&value, *p, 4);
    *p += 4;
    return value;
}

/* Play a segment; return the byte behind it. */
static const uint8_t *play(const uint8_t *p, int joined) {
    static uint8_t buffer[FRAME + 16], *payload = buffer + 16;
    uint32_t interval = number(&p), limit = number(&p), stamped = number(&p), flushes = number(&p);
    uint64_t began = clock_us(CLOCK_MONOTONIC), due = began;
    int over = 0;
    for (uint32_t i = 0; i < flushes; i++) {
        uint32_t entries = number(&p);
        uint64_t stamp = htobe64(clock_us(CLOCK_REALTIME));
        if (joined) memset(size_of, 0, sizeof size_of);
        for (uint32_t j = 0; j < entries; j++) {
            uint16_t topic, size;
            memcpy(&topic, p, 2);
            memcpy(&size, p + 2, 2);
            if (joined) { payload_of[topic] = p + 4; size_of[topic] = size; }
            else if (!over) {
                memcpy(payload, p + 4, size);
                if (stamped) memcpy(payload + STAMP, &stamp, 8);
                uint8_t *frame = head(payload, size);
                broadcast(&by_topic[topic], frame, payload + size - frame);
                over = clock_us(CLOCK_MONOTONIC) - began > limit;
            }
            p += 4 + size;
        }
        for (int w = 0; joined && w < wish_count && !over; w++) {
            size_t size = 0;
            for (int j = 0; j < wishes[w].count; j++) {
                uint16_t topic = wishes[w].topics[j];
                memcpy(payload + size, payload_of[topic], size_of[topic]);
                size += size_of[topic];
            }
            if (!size) continue;
            uint8_t *frame = head(payload, size);
            broadcast(&wishes[w].group, frame, payload + size - frame);
            if (w % 64 == 0) over = clock_us(CLOCK_MONOTONIC) - began > limit;
        }
        due += interval;
        uint64_t now = clock_us(CLOCK_MONOTONIC);
        over = over || now - began > limit;
        if (!over && due > now) usleep(due - now);
    }
    return p;
}

int main(int argc, char **argv) {
    if (argc < 5) { fprintf(stderr, "see the head of send.c\n"); return 2; }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    FILE *file = fopen(argv[2], "rb");
    if (!file) fail(argv[2]);
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    uint8_t *script = malloc(size + 1);
    if (fread(script, 1, size, file) != size) fail(argv[2]);
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &asked, NULL);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) fail("listen");
    printf("listening on http://127.0.0.1:%s/\n", argv[1]);
    fflush(stdout);
    for (int i = 0; i < atoi(argv[4]); i++) welcome(listener);
    int joined = !strcmp(argv[3], "joined");
    for (const uint8_t *p = script; p < script + size;) {
        int signal_number;
        sigwait(&asked, &signal_number);
        p = play(p, joined);
        printf("done\n");
        fflush(stdout);
    }
    pause();
}
