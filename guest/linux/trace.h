/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Tracepoints: each call, and what is done after an event. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pvir

#if !defined(PVIR_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PVIR_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(pvir_call,
	TP_PROTO(const char *operation, u32 count, u32 done, u32 status, u64 ns),
	TP_ARGS(operation, count, done, status, ns),
	TP_STRUCT__entry(
		__field(const char *, operation)
		__field(u32, count)
		__field(u32, done)
		__field(u32, status)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->operation = operation;
		__entry->count = count;
		__entry->done = done;
		__entry->status = status;
		__entry->ns = ns;
	),
	TP_printk("%s records=%u done=%u status=%#x ns=%llu", __entry->operation, __entry->count,
		  __entry->done, __entry->status, __entry->ns)
);

TRACE_EVENT(pvir_retarget,
	TP_PROTO(unsigned int virq, u32 device, u32 index, u32 apic_id, u8 vector, u32 status),
	TP_ARGS(virq, device, index, apic_id, vector, status),
	TP_STRUCT__entry(
		__field(unsigned int, virq)
		__field(u32, device)
		__field(u32, index)
		__field(u32, apic_id)
		__field(u8, vector)
		__field(u32, status)
	),
	TP_fast_assign(
		__entry->virq = virq;
		__entry->device = device;
		__entry->index = index;
		__entry->apic_id = apic_id;
		__entry->vector = vector;
		__entry->status = status;
	),
	TP_printk("irq=%u device=%04x:%02x:%02x.%u index=%u apic_id=%u vector=%#x status=%#x",
		  __entry->virq, __entry->device & 0xffff, __entry->device >> 24,
		  __entry->device >> 19 & 0x1f, __entry->device >> 16 & 7, __entry->index,
		  __entry->apic_id, __entry->vector, __entry->status)
);

TRACE_EVENT(pvir_event,
	TP_PROTO(u64 epoch, u64 sequence, u32 reason, u32 device),
	TP_ARGS(epoch, sequence, reason, device),
	TP_STRUCT__entry(
		__field(u64, epoch)
		__field(u64, sequence)
		__field(u32, reason)
		__field(u32, device)
	),
	TP_fast_assign(
		__entry->epoch = epoch;
		__entry->sequence = sequence;
		__entry->reason = reason;
		__entry->device = device;
	),
	TP_printk("epoch=%llu sequence=%llu reason=%u device=%#x", __entry->epoch,
		  __entry->sequence, __entry->reason, __entry->device)
);

#endif /* PVIR_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
