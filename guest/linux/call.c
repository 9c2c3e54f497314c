// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Calls: a block is filled, handed over, and its answer copied out (docs/abi.md, section 3).
 *
 * There is a page for each CPU, used with interrupts off, for calls from where nothing may
 * sleep; and one block for all, under pvir_lock, for batches and for what may be told to wait
 * (O7).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/sched/clock.h>
#include <linux/string.h>

#include "pvir.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/*
 * After a second without a call the host limits nothing (O7); before it may be enough to wait
 * less.
 */
#define PVIR_WAIT_FIRST_MS	20
#define PVIR_WAIT_LAST_MS	1100
#define PVIR_WAITS		8

struct pvir_block {
	struct pvir_header header;
	u8 records[][PVIR_RECORD_LEN];
};

struct pvir_call_counts pvir_counts[PVIR_OPERATIONS];

static DEFINE_PER_CPU(struct pvir_block *, pvir_cpu_block);
static struct pvir_block *pvir_batch_block;

static size_t pvir_batch_size(void)
{
	return PAGE_ALIGN(PVIR_BLOCK_LEN(pvir_batch));
}

/* Guest RAM of the kernel's own map: contiguous, and 4096-aligned (B1). */
int pvir_calls_init(void)
{
	int cpu;

	pvir_batch = clamp(pvir_batch, 1U, pvir_host.max_records);
	pvir_batch_block = alloc_pages_exact(pvir_batch_size(), GFP_KERNEL | __GFP_ZERO);
	if (!pvir_batch_block)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct page *page = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 0);

		if (!page) {
			pvir_calls_exit();
			return -ENOMEM;
		}
		per_cpu(pvir_cpu_block, cpu) = page_address(page);
	}
	return 0;
}

void pvir_calls_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		free_page((unsigned long)per_cpu(pvir_cpu_block, cpu));
		per_cpu(pvir_cpu_block, cpu) = NULL;
	}
	if (pvir_batch_block)
		free_pages_exact(pvir_batch_block, pvir_batch_size());
	pvir_batch_block = NULL;
}

static void pvir_raise_max(atomic64_t *max, s64 ns)
{
	s64 old = atomic64_read(max);

	while (ns > old && !atomic64_try_cmpxchg(max, &old, ns))
		;
}

static void pvir_count(u16 operation, u32 count, u32 done, u32 status, u64 ns, bool atomic)
{
	struct pvir_call_counts *counts = &pvir_counts[operation];

	atomic64_inc(&counts->calls);
	atomic64_add(count, &counts->records);
	if (status == PVIR_STATUS_RATE_LIMITED)
		atomic64_inc(&counts->rate_limited);
	else if (status != PVIR_STATUS_OK)
		atomic64_add(max(count - done, 1U), &counts->failed);
	pvir_raise_max(atomic ? &counts->max_atomic_ns : &counts->max_ns, ns);
	trace_pvir_call(pvir_operation_name(operation), count, done, status, ns);
}

/* One call with a block that is ours alone. Returns the status of the call. */
static u32 pvir_issue(struct pvir_block *block, u16 operation, void *records, u32 count,
		      bool atomic)
{
	u32 status, done;
	u64 start;

	block->header = (struct pvir_header) {
		.magic = PVIR_REQUEST_MAGIC,
		.version = pvir_host.version,
		.operation = operation,
		.count = count,
		.status = PVIR_STATUS_PENDING,
	};
	memcpy(block->records, records, count * PVIR_RECORD_LEN);

	start = local_clock();
	status = pvir_conduit_call(virt_to_phys(block), &block->header.status);
	start = local_clock() - start;

	done = READ_ONCE(block->header.done);
	if (done > count) {
		pr_err_ratelimited("%s: %u of %u records are done\n",
				   pvir_operation_name(operation), done, count);
		done = 0;
		status = PVIR_STATUS_HOST_ERROR;
	}
	memcpy(records, block->records, count * PVIR_RECORD_LEN);
	pvir_count(operation, count, done, status, start, atomic);
	if (operation == PVIR_OP_DISABLE)
		pvir_events_enabled(0);
	else if (operation != PVIR_OP_ENABLE)
		pvir_events_saw(READ_ONCE(block->header.epoch));
	else if (status == PVIR_STATUS_OK)
		pvir_events_enabled(READ_ONCE(block->header.epoch));
	return status;
}

/**
 * pvir_call_atomic - makes a call from any context but NMI; interrupts are off for its time
 * @operation:	what is asked for
 * @records:	@count records of PVIR_RECORD_LEN bytes, which hold the answer afterwards
 * @count:	0 to PVIR_ATOMIC_RECORDS
 *
 * Return: 0 if the records were judged, whose own statuses then say more; or the errno of the
 * call's status, and the records have not changed (B4).
 */
int pvir_call_atomic(u16 operation, void *records, u32 count)
{
	unsigned long flags;
	u32 status;

	if (WARN_ON_ONCE(count > PVIR_ATOMIC_RECORDS))
		return -EINVAL;
	local_irq_save(flags);
	status = pvir_issue(this_cpu_read(pvir_cpu_block), operation, records, count, true);
	local_irq_restore(flags);
	return pvir_errno(status);
}

/* With interrupts off there is nobody else, and no sleep: resume from suspend. */
static void pvir_wait(unsigned int ms)
{
	if (irqs_disabled())
		mdelay(ms);
	else
		msleep(ms);
}

static int pvir_call_batch(u16 operation, void *records, u32 count)
{
	unsigned int wait = PVIR_WAIT_FIRST_MS;
	int tries = PVIR_WAITS;
	u32 status;

	for (;;) {
		status = pvir_issue(pvir_batch_block, operation, records, count, false);
		if (status != PVIR_STATUS_RATE_LIMITED || --tries == 0)
			return pvir_errno(status);
		pvir_wait(wait);
		wait = min_t(unsigned int, wait * 3, PVIR_WAIT_LAST_MS);
	}
}

/**
 * pvir_call - makes a call, or as many as the records need, and waits where the host says so
 * @operation:	what is asked for
 * @records:	@count records, which hold the answers afterwards
 * @count:	any number
 *
 * May sleep. The caller holds pvir_lock.
 *
 * Return: 0 if all records were judged; else the errno of the first call that failed as a
 * whole. The records from there on are as they were, with PVIR_STATUS_PENDING.
 */
int pvir_call(u16 operation, void *records, u32 count)
{
	u32 at = 0;

	do {
		u32 part = min(count - at, pvir_batch);
		int ret = pvir_call_batch(operation, records + at * PVIR_RECORD_LEN, part);

		if (ret)
			return ret;
		at += part;
	} while (at < count);
	return 0;
}
