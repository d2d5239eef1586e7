// libfuse's low-level API, and what the kernel's FUSE interface has beyond the headers of libfuse
// 3.14: passthrough (linux/fuse.h from protocol 7.40 on) and system calls without a wrapper in
// every C library. Structures are the kernel's ABI, written out so that the build does not depend
// on the version of the kernel headers.

#ifndef HALITE_CFUSE3_SHIM_H
#define HALITE_CFUSE3_SHIM_H

// No feature macros here: Swift's own view of the C library is built without them, and types that
// differ between the two do not compile.
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// ---- libfuse: functions that later versions turn into macros, which Swift cannot see

static inline struct fuse_session *halite_session_new(
    struct fuse_args *args, const struct fuse_lowlevel_ops *ops, void *userdata) {
  return fuse_session_new(args, ops, sizeof(*ops), userdata);
}

static inline int halite_session_custom_io(
    struct fuse_session *session, const struct fuse_custom_io *io, int descriptor) {
  return fuse_session_custom_io(session, io, descriptor);
}

// ---- Messages of /dev/fuse (linux/fuse.h)

enum {
  HALITE_FUSE_INIT = 26,
  HALITE_FUSE_INIT_EXT = 1 << 30,
  // Bit 37 of the flags, so bit 5 of their upper half.
  HALITE_FUSE_PASSTHROUGH_FLAG2 = 1 << 5,
  HALITE_FOPEN_DIRECT_IO = 1 << 0,
  HALITE_FOPEN_KEEP_CACHE = 1 << 1,
  HALITE_FOPEN_PASSTHROUGH = 1 << 7,
};

struct halite_in_header {
  uint32_t length;
  uint32_t opcode;
  uint64_t unique;
  uint64_t node;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint32_t extension;
};

struct halite_out_header {
  uint32_t length;
  int32_t error;
  uint64_t unique;
};

struct halite_init_in {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint32_t flags2;
  uint32_t unused[11];
};

struct halite_init_out {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_granularity;
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;
  uint32_t unused[6];
};

struct halite_attr {
  uint64_t inode;
  uint64_t size;
  uint64_t blocks;
  uint64_t atime;
  uint64_t mtime;
  uint64_t ctime;
  uint32_t atime_nanoseconds;
  uint32_t mtime_nanoseconds;
  uint32_t ctime_nanoseconds;
  uint32_t mode;
  uint32_t links;
  uint32_t uid;
  uint32_t gid;
  uint32_t device;
  uint32_t block_size;
  uint32_t flags;
};

struct halite_entry_out {
  uint64_t node;
  uint64_t generation;
  uint64_t entry_valid;
  uint64_t attr_valid;
  uint32_t entry_valid_nanoseconds;
  uint32_t attr_valid_nanoseconds;
  struct halite_attr attr;
};

struct halite_open_out {
  uint64_t handle;
  uint32_t flags;
  int32_t backing;
};

struct halite_create_out {
  struct halite_entry_out entry;
  struct halite_open_out open;
};

struct halite_backing_map {
  int32_t descriptor;
  uint32_t flags;
  uint64_t padding;
};

// Registers an open file with a mount; the identifier of the backing file, or -1.
static inline int halite_backing_open(int fuse, int descriptor) {
  struct halite_backing_map map = {descriptor, 0, 0};
  return ioctl(fuse, _IOW(229, 1, struct halite_backing_map), &map);
}

static inline int halite_backing_close(int fuse, int32_t backing) {
  uint32_t number = (uint32_t)backing;
  return ioctl(fuse, _IOW(229, 2, uint32_t), &number);
}

// ---- System calls without a wrapper in every C library

enum {
  // asm-generic/fcntl.h and linux/fcntl.h
  HALITE_O_PATH = 010000000,
  HALITE_O_TMPFILE = 020000000 | O_DIRECTORY,
  HALITE_AT_EMPTY_PATH = 0x1000,
  // sys/stat.h, for utimensat(2); macros that Swift does not import.
  HALITE_UTIME_NOW = (1 << 30) - 1,
  HALITE_UTIME_OMIT = (1 << 30) - 2,
};

struct halite_statx_time {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};

// struct statx of linux/stat.h
struct halite_statx {
  uint32_t mask;
  uint32_t block_size;
  uint64_t attributes;
  uint32_t links;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t reserved0;
  uint64_t inode;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  struct halite_statx_time access;
  struct halite_statx_time birth;
  struct halite_statx_time change;
  struct halite_statx_time modification;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t reserved1[14];
};

// `path` may be empty: then the descriptor itself is inspected. Symbolic links are not followed.
static inline int halite_statx_at(int directory, const char *path, struct halite_statx *out) {
  // AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW; STATX_BASIC_STATS | STATX_BTIME
  return (int)syscall(SYS_statx, directory, path, 0x1000 | 0x100, 0xfff, out);
}

// openat2(2) below `directory`, without following any symbolic link.
static inline int halite_open_beneath(
    int directory, const char *path, uint64_t flags, uint64_t mode) {
  // struct open_how; RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
  struct {
    uint64_t flags, mode, resolve;
  } how = {flags, mode, 0x02 | 0x04 | 0x08};
  return (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
}

// Reads only what the page cache has (RWF_NOWAIT); -1 and EAGAIN when the disk would be needed.
static inline ssize_t halite_read_cached(
    int descriptor, void *buffer, size_t count, off_t offset) {
  struct iovec vector = {buffer, count};
  // The offset comes in two halves, of which a 64-bit system uses the lower alone.
  return (ssize_t)syscall(SYS_preadv2, descriptor, &vector, 1, offset, 0, 0x08);
}

static inline int halite_fallocate(int descriptor, int mode, off_t offset, off_t length) {
  return (int)syscall(SYS_fallocate, descriptor, mode, offset, length);
}

static inline void halite_release_memory(void) { malloc_trim(0); }

// One for each processor, but at least two.
static inline void halite_limit_arenas(void) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  mallopt(M_ARENA_MAX, processors < 2 ? 2 : (int)processors);
}

// An empty file in memory, closed on exec; the name is for people who look.
static inline int halite_memory_file(const char *name) {
  return (int)syscall(SYS_memfd_create, name, 1 /* MFD_CLOEXEC */);
}

// fsopen(2) and fsconfig(2): a file system without a mount point.
static inline int halite_fsopen(const char *type) {
  return (int)syscall(SYS_fsopen, type, 1 /* FSOPEN_CLOEXEC */);
}

static inline int halite_fsconfig_set(int descriptor, const char *key, const char *value) {
  return (int)syscall(SYS_fsconfig, descriptor, 1 /* FSCONFIG_SET_STRING */, key, value, 0);
}

static inline int halite_fsconfig_create(int descriptor) {
  return (int)syscall(SYS_fsconfig, descriptor, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0);
}

#endif
