/* What the first stage uses of the firmware, laid out as the UEFI specification (2.10) has it; what it does not use are bare pointers.
 *
 * On x86-64 the firmware calls as Windows does: the whole program is compiled so (-mabi=ms), and nothing here need say it. */

#include <stddef.h>
#include <stdint.h>

typedef uint64_t status; /* 0 when it worked; otherwise the highest bit and a number (appendix D) */
typedef void *handle;
typedef uint16_t character;

typedef struct {
    uint32_t first;
    uint16_t second, third;
    uint8_t rest[8];
} guid;

typedef struct {
    uint8_t type, subtype, length[2]; /* of the node with what follows it */
} device_path;

typedef struct { /* 12.4 */
    void *reset;
    status (*output_string)(void *self, const character *text);
} text_output;

typedef struct { /* 7 */
    uint8_t header[24];
    void *priorities[2], *pages[3];
    status (*allocate_pool)(uint32_t type, size_t size, void **memory);
    status (*free_pool)(void *memory);
    void *events[6], *installing[3];
    status (*handle_protocol)(handle, const guid *, void **interface);
    void *looking_up[5];
    status (*load_image)(uint8_t by_policy, handle parent, const device_path *, void *source, size_t size, handle *image);
    status (*start_image)(handle image, size_t *size, character **words);
    void *exit;
    status (*unload_image)(handle image);
    void *exit_boot_services, *count;
    status (*stall)(size_t microseconds);
    status (*set_watchdog_timer)(size_t seconds, uint64_t code, size_t size, const character *words);
} boot_services;

typedef struct { /* 8 */
    uint8_t header[24];
    void *time[4], *addresses[2], *get_variable, *next_variable;
    status (*set_variable)(const character *name, const guid *vendor, uint32_t attributes, size_t size, const void *value);
    void *high_count;
    void (*reset_system)(uint32_t kind, status reason, size_t size, const void *words);
} runtime_services;

typedef struct { /* 4.3 */
    uint8_t header[24];
    const character *vendor;
    uint32_t revision;
    handle input_handle;
    void *input;
    handle output_handle;
    text_output *output;
    handle error_handle;
    text_output *error;
    runtime_services *runtime;
    boot_services *boot;
} system_table;

typedef struct { /* 9.1 */
    uint32_t revision;
    handle parent;
    system_table *table;
    handle device;
} loaded_image;

typedef struct file { /* 13.5 */
    uint64_t revision;
    status (*open)(struct file *, struct file **found, const character *name, uint64_t mode, uint64_t attributes);
    status (*close)(struct file *);
    void *remove;
    status (*read)(struct file *, size_t *size, void *buffer);
} file;

typedef struct { /* 13.4 */
    uint64_t revision;
    status (*open_volume)(void *self, file **root);
} file_system;

typedef struct { /* 13.5 */
    uint64_t size, file_size, physical_size;
    uint8_t times[48];
    uint64_t attributes;
    character name[];
} file_info;

#define FOR_READING 1u
#define COLD_RESET 0u
#define FOR_THIS_START 6u /* of a variable: seen by us and by the system, and gone with the next start */

static const guid LOADED_IMAGE = {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
static const guid DEVICE_PATH = {0x09576e91, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
static const guid FILE_SYSTEM = {0x964e5b22, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
/* Of systemd-boot's variables (the Boot Loader Interface), and of ours. */
static const guid LOADER_VENDOR = {0x4a67b082, 0x0a4c, 0x41cf, {0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f}};
static const guid OUR_VENDOR = {0xb6f6a5c6, 0x0c0a, 0x4a3e, {0x9f, 0x1e, 0x3d, 0x5f, 0x6a, 0x7c, 0x8e, 0x90}};
