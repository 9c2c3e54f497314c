// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Discovery and conduits: how the host is found, and how a request block reaches it
 * (docs/abi.md, sections 1 and 2).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor.h>

#include "compat.h"
#include "pvir.h"

struct pvir_host pvir_host;

/* In the order in which they are taken (C9). */
static const struct {
	u32 bit;
	const char *name;
} pvir_conduits[] = {
	{ PVIR_CONDUIT_VMCALL, "vmcall" },
	{ PVIR_CONDUIT_VMMCALL, "vmmcall" },
	{ PVIR_CONDUIT_MSR, "msr" },
	{ PVIR_CONDUIT_PORT, "port" },
};

const char *pvir_conduit_name(u32 conduit)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pvir_conduits); i++)
		if (pvir_conduits[i].bit == conduit)
			return pvir_conduits[i].name;
	return "none";
}

/*
 * The conduits that the host advertises, this CPU has, and whose numbers mean nothing else
 * (D5).
 */
static u32 pvir_usable_conduits(void)
{
	bool amd = boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
		   boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
	u32 usable = pvir_host.conduits;

	usable &= ~(amd ? PVIR_CONDUIT_VMCALL : PVIR_CONDUIT_VMMCALL);
	if (!IS_ENABLED(CONFIG_X86_64))
		usable &= ~(PVIR_CONDUIT_VMCALL | PVIR_CONDUIT_VMMCALL);
	if (pvir_host.msr < PVIR_MSR_MIN || pvir_host.msr > PVIR_MSR_MAX)
		usable &= ~PVIR_CONDUIT_MSR;
	if (pvir_host.port < PVIR_PORT_MIN || pvir_host.port > PVIR_PORT_MAX ||
	    pvir_host.port % PVIR_PORT_STEP)
		usable &= ~PVIR_CONDUIT_PORT;
	return usable;
}

static int pvir_choose_conduit(const char *wanted)
{
	u32 usable = pvir_usable_conduits();
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pvir_conduits); i++) {
		if (!(usable & pvir_conduits[i].bit))
			continue;
		if (sysfs_streq(wanted, "auto") || sysfs_streq(wanted, pvir_conduits[i].name)) {
			pvir_host.conduit = pvir_conduits[i].bit;
			return 0;
		}
	}
	pr_err("the host has no conduit that can be used: %#x are offered, conduit=%s\n",
	       pvir_host.conduits, wanted);
	return -ENODEV;
}

static bool pvir_read_block(u32 base)
{
	u32 eax, ebx, ecx, edx;
	u16 oldest, newest;

	cpuid(base, &eax, &ebx, &ecx, &edx);
	if (ebx != PVIR_CPUID_SIGNATURE || ecx != PVIR_CPUID_SIGNATURE ||
	    edx != PVIR_CPUID_SIGNATURE || eax < base + 2)
		return false;

	cpuid(base + 1, &eax, &ebx, &ecx, &edx);
	oldest = eax & 0xffff;
	newest = eax >> 16;
	pvir_host.version = oldest <= PVIR_VERSION_1 && newest >= PVIR_VERSION_1 ?
			    PVIR_VERSION_1 : 0;
	pvir_host.features = ebx | (u64)ecx << 32;
	pvir_host.max_records = clamp_t(u32, edx, 1, PVIR_MAX_RECORDS);

	cpuid(base + 2, &eax, &ebx, &ecx, &edx);
	pvir_host.conduits = eax;
	pvir_host.msr = ebx;
	pvir_host.port = ecx & 0xffff;
	return true;
}

/**
 * pvir_discover - looks for the host, and chooses how it is called
 * @wanted:	name of a conduit, or "auto"
 *
 * Return: 0, or -ENODEV with a line in the log that says why.
 */
int pvir_discover(const char *wanted)
{
	u32 base;

	if (!boot_cpu_has(X86_FEATURE_HYPERVISOR)) {
		pr_info("no hypervisor, interrupts stay as they are\n");
		return -ENODEV;
	}
	for (base = PVIR_CPUID_BASE_MIN; base <= PVIR_CPUID_BASE_MAX; base += PVIR_CPUID_BASE_STEP)
		if (pvir_read_block(base))
			break;
	if (base > PVIR_CPUID_BASE_MAX) {
		pr_info("the hypervisor does not serve pvir, interrupts stay as they are\n");
		return -ENODEV;
	}
	if (!pvir_host.version) {
		pr_info("the host does not speak version %u of the contract\n", PVIR_VERSION_1);
		return -ENODEV;
	}
	if (~pvir_host.features & PVIR_FEATURES_NEEDED) {
		pr_info("the host does not offer the features %#llx, interrupts stay as they are\n",
			PVIR_FEATURES_NEEDED & ~pvir_host.features);
		return -ENODEV;
	}
	return pvir_choose_conduit(wanted);
}

#ifdef CONFIG_X86_64
static u32 pvir_vmcall(phys_addr_t block)
{
	unsigned long ret;

	asm volatile("vmcall" : "=a" (ret) : "a" ((unsigned long)PVIR_HYPERCALL), "D" (block) :
		     "memory");
	return ret;
}

static u32 pvir_vmmcall(phys_addr_t block)
{
	unsigned long ret;

	asm volatile("vmmcall" : "=a" (ret) : "a" ((unsigned long)PVIR_HYPERCALL), "D" (block) :
		     "memory");
	return ret;
}
#else
static u32 pvir_vmcall(phys_addr_t block) { return PVIR_STATUS_HOST_ERROR; }
static u32 pvir_vmmcall(phys_addr_t block) { return PVIR_STATUS_HOST_ERROR; }
#endif

/* Status of this vCPU's last call by MSR or port (C3). */
static u32 pvir_register_status(void)
{
	u32 low = PVIR_STATUS_PENDING, high;

	if (pvir_host.conduit == PVIR_CONDUIT_PORT)
		return inl(pvir_host.port);
	if (rdmsr_safe(pvir_host.msr, &low, &high))
		return PVIR_STATUS_HOST_ERROR;
	return low;
}

/**
 * pvir_conduit_call - hands a block to the host; the block holds the answer on return (C1)
 * @block:	its guest physical address
 * @status:	the header's status, which the host writes
 *
 * With MSR and port the conduit's own status costs an exit, and is asked for only where the
 * header was not written (C3).
 *
 * Return: the status of the call.
 */
u32 pvir_conduit_call(phys_addr_t block, const u32 *status)
{
	u32 said;

	switch (pvir_host.conduit) {
	case PVIR_CONDUIT_VMCALL:
		said = pvir_vmcall(block);
		break;
	case PVIR_CONDUIT_VMMCALL:
		said = pvir_vmmcall(block);
		break;
	case PVIR_CONDUIT_MSR:
		if (wrmsr_safe(pvir_host.msr, lower_32_bits(block), upper_32_bits(block)))
			return PVIR_STATUS_HOST_ERROR;
		said = PVIR_STATUS_PENDING;
		break;
	default:
		outl(block >> PVIR_PORT_ADDRESS_SHIFT, pvir_host.port);
		said = PVIR_STATUS_PENDING;
		break;
	}
	barrier();
	if (READ_ONCE(*status) == PVIR_STATUS_PENDING) {
		if (said == PVIR_STATUS_PENDING)
			said = pvir_register_status();
		/* Nobody was there who knows of pvir (C7). */
		return said == PVIR_STATUS_OK ? PVIR_STATUS_HOST_ERROR : said;
	}
	if (said != PVIR_STATUS_PENDING && said != READ_ONCE(*status)) {
		pr_err_ratelimited("the conduit says %#x, the block %#x\n", said, *status);
		return PVIR_STATUS_HOST_ERROR;
	}
	return *status;
}
