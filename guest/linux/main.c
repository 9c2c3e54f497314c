// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * pvir, the driver of a Linux guest: its devices' interrupts are programmed without an exit,
 * with the drivers as they are. See README.md.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/cpu_device_id.h>

#include "pvir.h"

static char *pvir_conduit = "auto";
module_param_named(conduit, pvir_conduit, charp, 0444);
MODULE_PARM_DESC(conduit, "how the host is called: auto (the default), vmcall, vmmcall, msr or port");

unsigned int pvir_batch = PVIR_MAX_RECORDS;
module_param_named(batch, pvir_batch, uint, 0444);
MODULE_PARM_DESC(batch, "most records in one call, 1 to 512 (the default), or what the host takes");

static char *pvir_exclude = "";
module_param_named(exclude, pvir_exclude, charp, 0644);
MODULE_PARM_DESC(exclude, "devices left to trapped messages from their next driver on: 0000:00:01.0,...");

static bool pvir_notify = true;
module_param_named(notify, pvir_notify, bool, 0444);
MODULE_PARM_DESC(notify, "have events announced on a vector (the default), or look for them once a second");

u64 pvir_features;
/* The devices, their entries, and the block for batches. */
DEFINE_MUTEX(pvir_lock);

/*
 * Whether the administrator has named the device, with its segment or, where that is 0,
 * without.
 */
bool pvir_excluded(struct pci_dev *pdev)
{
	const char *name = pci_name(pdev);
	char *list, *rest, *word;
	bool found = false;

	kernel_param_lock(THIS_MODULE);
	list = kstrdup(pvir_exclude, GFP_KERNEL);
	kernel_param_unlock(THIS_MODULE);
	rest = list;
	while (rest && (word = strsep(&rest, "\n, ")) != NULL)
		found |= !strcmp(word, name) ||
			 (!strncmp(name, "0000:", 5) && !strcmp(word, name + 5));
	kfree(list);
	return found;
}

static int pvir_enable_call(struct pvir_enable_record *record)
{
	*record = (struct pvir_enable_record) {
		.status = PVIR_STATUS_PENDING,
		.features = pvir_features,
	};
	pvir_events_enable(record);
	return pvir_call(PVIR_OP_ENABLE, record, 1);
}

/**
 * pvir_enable - begins the session; no device is handed over yet (A1)
 *
 * The session of a kernel that was here before, of which this one is the crash kernel or which
 * has started it, is ended first (X2).
 *
 * Return: 0, or why the host does not, which the log says too.
 */
int pvir_enable(void)
{
	struct pvir_enable_record record;
	int ret = pvir_enable_call(&record);

	if (ret == -EALREADY) {
		pr_info("another kernel's session is ended\n");
		pvir_call(PVIR_OP_DISABLE, NULL, 0);
		ret = pvir_enable_call(&record);
	}
	if (ret == -EPERM)
		pr_info("the host refuses, interrupts stay as they are: device %04x:%02x:%02x.%u: %s\n",
			record.device & 0xffff, record.device >> 24, record.device >> 19 & 0x1f,
			record.device >> 16 & 7, pvir_refusal_name(record.refusal));
	else if (ret)
		pr_err("not enabled, interrupts stay as they are: %pe\n", ERR_PTR(ret));
	return ret;
}

static void pvir_disable(void)
{
	mutex_lock(&pvir_lock);
	pvir_call(PVIR_OP_DISABLE, NULL, 0);
	mutex_unlock(&pvir_lock);
}

static int __init pvir_begin(void)
{
	int ret = pvir_discover(pvir_conduit);

	if (ret)
		return ret;
	pvir_features = pvir_host.features & PVIR_FEATURES_USED;
	if (!pvir_notify)
		pvir_features &= ~PVIR_FEATURE_NOTIFY;
	ret = pvir_calls_init();
	if (ret)
		return ret;
	ret = pvir_events_init();
	if (ret)
		goto calls;
	ret = pvir_domain_init();
	if (ret)
		goto events;
	mutex_lock(&pvir_lock);
	ret = pvir_enable();
	mutex_unlock(&pvir_lock);
	if (!ret)
		return 0;
	/* A host that does not is no error of this machine. */
	ret = -ENODEV;
	pvir_domain_exit();
events:
	pvir_events_exit();
calls:
	pvir_calls_exit();
	return ret;
}

static void pvir_end(void)
{
	pvir_disable();
	pvir_events_exit();
	pvir_domain_exit();
	pvir_calls_exit();
}

static int __init pvir_init(void)
{
	int ret = pvir_begin();

	if (ret)
		return ret;
	ret = pvir_recovery_init();
	if (ret)
		goto end;
	ret = pvir_power_init();
	if (ret)
		goto recovery;
	pr_info("enabled: conduit %s, features %#llx\n", pvir_conduit_name(pvir_host.conduit),
		pvir_features);
	ret = pvir_devices_init();
	if (ret)
		goto power;
	pvir_debugfs_init();
	return 0;
power:
	pvir_power_exit();
recovery:
	pvir_recovery_exit();
end:
	pvir_end();
	return ret;
}

static void __exit pvir_exit(void)
{
	pvir_debugfs_exit();
	pvir_devices_exit();
	pvir_power_exit();
	pvir_recovery_exit();
	pvir_unmap_exit();
	pvir_end();
}

/* Whatever runs under a hypervisor: udev loads it, and it says whether this one serves pvir. */
static const struct x86_cpu_id pvir_cpu_ids[] = {
	X86_MATCH_FEATURE(X86_FEATURE_HYPERVISOR, NULL),
	{ }
};
MODULE_DEVICE_TABLE(x86cpu, pvir_cpu_ids);

module_init(pvir_init);
module_exit(pvir_exit);

MODULE_DESCRIPTION("Paravirtual interrupt remapping for guests");
MODULE_AUTHOR("The pvir founders");
MODULE_LICENSE("Dual MIT/GPL");
MODULE_VERSION("0.1.0");
