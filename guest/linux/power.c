// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The ends of a session that are not an unload: suspend and hibernation, kexec, poweroff, a
 * panic.
 *
 * The session is given back in each, so that what comes next finds trapped tables: the kernel
 * that restores an image, the one that kexec starts, the crash kernel. After suspend it begins
 * anew, with new pairs in the descriptors from which the PCI core then restores the tables.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/notifier.h>
#include <linux/panic_notifier.h>

#include "compat.h"
#include "pvir.h"

/* One CPU, interrupts off, tasks and work frozen: nobody else makes a call. */
static int pvir_suspend(PVIR_SYSCORE_ARG)
{
	pvir_call_atomic(PVIR_OP_DISABLE, NULL, 0);
	return 0;
}

static void pvir_resume(PVIR_SYSCORE_ARG)
{
	struct pvir_device *device;

	if (pvir_enable())
		return;
	list_for_each_entry(device, &pvir_devices, node)
		if (!device->gone && !pvir_device_attach(device))
			pvir_map_again(device);
}

static void pvir_shutdown(PVIR_SYSCORE_ARG)
{
	if (pvir_enabled())
		pvir_call_atomic(PVIR_OP_DISABLE, NULL, 0);
}

PVIR_SYSCORE(pvir_syscore, pvir_suspend, pvir_resume, pvir_shutdown);

/*
 * Called before a crash kernel with crash_kexec_post_notifiers only: without, it has to DISABLE
 * (X2).
 */
static int pvir_panic(struct notifier_block *nb, unsigned long action, void *data)
{
	if (pvir_enabled())
		pvir_call_atomic(PVIR_OP_DISABLE, NULL, 0);
	return NOTIFY_DONE;
}

static struct notifier_block pvir_panic_notifier = {
	.notifier_call = pvir_panic,
};

int pvir_power_init(void)
{
	pvir_register_syscore(&pvir_syscore);
	return atomic_notifier_chain_register(&panic_notifier_list, &pvir_panic_notifier);
}

void pvir_power_exit(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &pvir_panic_notifier);
	pvir_unregister_syscore(&pvir_syscore);
}
