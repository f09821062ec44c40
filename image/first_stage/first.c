/* The first program of the box that the firmware starts.
 *
 * It starts the boot loader (LOADER, a path on our own partition). The loader comes back when the kernel image that it chose cannot be
 * loaded: it knows no other then. So this program tries the rest of them by itself, those that have proved themselves first, those
 * without starts left last, and the newer before the older. A kernel image that starts never comes back. When there is nothing left it says so, and starts the box again
 * after a minute: the firmware's menu and its shell are for nobody here.
 *
 * Names are only read: a version's starts are counted by the loader, and the firmware's FAT is not trusted with writing. */

#include "efi.h"

#define FOLDER u"\\EFI\\Linux\\"
#define PREFIX u"switchroom_"
#define SUFFIX u".efi"
#define KERNELS 16
#define LONGEST 100   /* characters of a name or path */
#define PATIENCE 300  /* seconds for a program to hand over to the system; the firmware resets the box then */
#define PROVED 0x7fffffff
#define TOO_LONG (1ull << 63 | 5)

struct kernel {
    character name[LONGEST];
    int left; /* starts it has left; PROVED: they are not counted any more */
    int tried;
};

static system_table *firmware;
static handle self, device;
static struct kernel kernels[KERNELS];
static int found, whole; /* kernel images; those that are as long as they say */

/* The image can lie at any address as it is: there is nothing to be changed in it. The firmware wants to be told so. */
static const struct {
    uint32_t page, size;
    uint16_t nothing[2];
} no_relocations __attribute__((section(".reloc"), used)) = {0, 12, {0, 0}};

static void say(const character *text) {
    if (firmware->output) /* a box without any screen may have none */
        firmware->output->output_string(firmware->output, text);
}

static void say_number(uint64_t number) {
    character digits[21];
    int at = 20;
    digits[at] = 0;
    do {
        digits[--at] = (character)(u'0' + number % 10);
        number /= 10;
    } while (number);
    say(digits + at);
}

static size_t length(const character *text) {
    size_t count = 0;
    while (text[count])
        count++;
    return count;
}

static void join(character *out, const character *head, const character *tail) {
    while (*head)
        *out++ = *head++;
    while (*tail)
        *out++ = *tail++;
    *out = 0;
}

static int begins(const character *text, const character *with) {
    while (*with && *text == *with)
        text++, with++;
    return !*with;
}

static int is_digit(character c) {
    return c >= u'0' && c <= u'9';
}

static int is_letter(character c) {
    return (c >= u'a' && c <= u'z') || (c >= u'A' && c <= u'Z') || c == u'~';
}

/* The next part of a version: a number's value, or -1 for a word, which is left where it stands; 0 at the end. */
static int64_t part(const character **at) {
    int64_t value = 0;
    while (**at && **at != u'+' && !is_digit(**at) && !is_letter(**at) && !begins(*at, SUFFIX))
        ++*at;
    if (begins(*at, SUFFIX))
        return 0;
    if (is_letter(**at))
        return -1;
    for (; is_digit(**at); ++*at)
        value = value * 10 + (**at - u'0');
    return value;
}

/* Whether the first name's version is the newer one; ordered as appliance/box/update.py does it, words before numbers. */
static int newer(const character *one, const character *other) {
    one += length(PREFIX), other += length(PREFIX);
    for (;;) {
        int64_t first = part(&one), second = part(&other);
        if (first != second)
            return first > second;
        if (first == -1)
            for (; is_letter(*one) || is_letter(*other); one++, other++) {
                character a = is_letter(*one) ? *one : 0, b = is_letter(*other) ? *other : 0;
                if (a != b)
                    return a > b;
            }
        else if ((*one == u'+' || begins(one, SUFFIX)) && (*other == u'+' || begins(other, SUFFIX)))
            return 0;
    }
}

static uint32_t number_at(const uint8_t *bytes, int count) {
    uint32_t value = 0;
    while (count--)
        value = value << 8 | bytes[count];
    return value;
}

/* Whether a file is an EFI program, and has all the bytes that its table of sections asks for (Microsoft's PE format). */
static int is_whole(file *folder, const file_info *info) {
    static uint8_t head[4096];
    size_t size = sizeof head;
    file *program;
    if (folder->open(folder, &program, info->name, FOR_READING, 0))
        return 0;
    status failed = program->read(program, &size, head);
    program->close(program);
    if (failed || size < sizeof head || head[0] != 'M' || head[1] != 'Z')
        return 0;
    uint32_t at = number_at(head + 0x3c, 4);
    if (at > sizeof head - 24 || number_at(head + at, 4) != 0x4550)
        return 0;
    uint32_t sections = number_at(head + at + 6, 2), table = at + 24 + number_at(head + at + 20, 2);
    if (table + 40 * sections > sizeof head)
        return 0;
    for (const uint8_t *section = head + table; sections; sections--, section += 40)
        if ((uint64_t)number_at(section + 20, 4) + number_at(section + 16, 4) > info->file_size)
            return 0;
    return 1;
}

/* Keep the name of a file in the folder when it is that of a kernel image. */
static void consider(file *folder, const file_info *info) {
    const character *name = info->name;
    size_t size = length(name), at = length(PREFIX);
    struct kernel *kernel = &kernels[found];
    if (found == KERNELS || size >= LONGEST - length(FOLDER) || !begins(name, PREFIX) || !is_digit(name[at]))
        return;
    whole += is_whole(folder, info);
    while (name[at] && name[at] != u'+' && !begins(name + at, SUFFIX))
        at++;
    kernel->left = PROVED;
    if (name[at] == u'+')
        for (kernel->left = 0, at++; is_digit(name[at]) && kernel->left < 1000; at++)
            kernel->left = kernel->left * 10 + (name[at] - u'0');
    if (size < length(SUFFIX) || !begins(name + size - length(SUFFIX), SUFFIX))
        return;
    join(kernel->name, name, u"");
    found++;
}

static void look(void) {
    static uint64_t buffer[128]; /* for a file_info, which wants to be aligned */
    file_system *files;
    file *root, *folder;
    found = whole = 0;
    if (firmware->boot->handle_protocol(device, &FILE_SYSTEM, (void **)&files) || files->open_volume(files, &root) ||
        root->open(root, &folder, FOLDER, FOR_READING, 0)) {
        say(u"The boot partition cannot be read.\r\n");
        return;
    }
    for (;;) {
        size_t size = sizeof buffer;
        if (folder->read(folder, &size, buffer) || size == 0)
            break;
        consider(folder, (const file_info *)buffer);
    }
    folder->close(folder);
    root->close(root);
}

/* One that has no starts left has failed or was left by choice: it comes last, and is better than none. */
static int rank(const struct kernel *kernel) {
    return kernel->left == PROVED ? 2 : kernel->left > 0;
}

static struct kernel *best(void) {
    struct kernel *chosen = NULL;
    for (struct kernel *kernel = kernels; kernel < kernels + found; kernel++)
        if (!kernel->tried && (!chosen || rank(kernel) > rank(chosen) ||
                               (rank(kernel) == rank(chosen) && newer(kernel->name, chosen->name))))
            chosen = kernel;
    return chosen;
}

/* The path of a file as the firmware wants it: that of our partition, a node with the name, an end. NULL when it is too long. */
static const device_path *path_of(const character *name) {
    static uint8_t path[1024];
    uint8_t *at = path;
    const uint8_t *from;
    size_t bytes = 2 * (length(name) + 1), size;
    if (firmware->boot->handle_protocol(device, &DEVICE_PATH, (void **)&from))
        return NULL;
    for (; from[0] != 0x7f; from += size) {
        size = from[2] | (size_t)from[3] << 8;
        if (size < 4 || at + size + bytes + 8 > path + sizeof path)
            return NULL;
        for (size_t i = 0; i < size; i++)
            *at++ = from[i];
    }
    const uint8_t head[] = {4, 4, (uint8_t)(bytes + 4), (uint8_t)((bytes + 4) >> 8)}, end[] = {0x7f, 0xff, 4, 0};
    for (int i = 0; i < 4; i++)
        *at++ = head[i];
    for (size_t i = 0; i < bytes; i++)
        *at++ = (uint8_t)(name[i / 2] >> (i % 2 * 8));
    for (int i = 0; i < 4; i++)
        *at++ = end[i];
    return (const device_path *)path;
}

/* Start a file of our partition. Comes back only when that did not work; `ran`: it was loaded and came back by itself. */
static status start(const character *name, int *ran) {
    const device_path *path = path_of(name);
    handle image = NULL;
    *ran = 0;
    if (!path)
        return TOO_LONG;
    status failed = firmware->boot->load_image(0, self, path, NULL, 0, &image);
    if (failed) {
        if (image) /* one whose signature is refused may be there nevertheless */
            firmware->boot->unload_image(image);
        return failed;
    }
    *ran = 1;
    firmware->boot->set_watchdog_timer(PATIENCE, 0x10000, 0, NULL);
    return firmware->boot->start_image(image, NULL, NULL);
}

static void try_kernels(void) {
    character path[LONGEST];
    struct kernel *kernel;
    int ran;
    look();
    while ((kernel = best())) {
        kernel->tried = 1;
        join(path, FOLDER, kernel->name);
        say(u"Trying ");
        say(path);
        say(u"\r\n");
        /* The system asks by this whether a version is on trial that has to be blessed; the loader has set it for its own choice. */
        firmware->runtime->set_variable(u"LoaderBootCountPath", &LOADER_VENDOR, FOR_THIS_START,
                                        kernel->left == PROVED ? 0 : 2 * (length(path) + 1), path);
        status failed = start(path, &ran);
        say(u"It could not be started: error ");
        say_number(failed << 1 >> 1);
        say(u"\r\n");
    }
}

static void start_loader(void) {
    int ran;
    look();
    if (!whole) { /* the first entry of its menu would be to enrol keys, and it would do that unasked */
        say(u"\r\nSwitchroom: no kernel image is whole.\r\n");
        return;
    }
    status failed = start(LOADER, &ran);
    say(ran ? u"\r\nSwitchroom: the boot loader has come back.\r\n" : u"\r\nSwitchroom: the boot loader could not be loaded.\r\n");
    if (ran && failed) /* its choice could not be loaded; it comes back without an error when somebody leaves its menu */
        firmware->runtime->set_variable(u"SwitchroomFallback", &OUR_VENDOR, FOR_THIS_START, 1, "1");
}

status efi_main(handle image, system_table *table) {
    loaded_image *ours;
    firmware = table;
    self = image;
    if (!table->boot->handle_protocol(image, &LOADED_IMAGE, (void **)&ours)) {
        device = ours->device;
        start_loader();
        try_kernels();
    }
    say(u"\r\nNo version of Switchroom on this box can be started. The disk may be failing: write the image to it again, or to another "
        u"one, and restore a backup. The box tries again in 60 seconds.\r\n");
    for (int second = 0; second < 60; second++)
        table->boot->stall(1000000);
    for (;;)
        table->runtime->reset_system(COLD_RESET, 0, 0, NULL);
}
