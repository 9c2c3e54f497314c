# Where an application processor starts after SIPI: real mode, at the page that smp.rs copied this to.
# Straight to 64-bit mode on the page tables of the boot processor, then into ap_entry.

    .set BASE, 0x8000                   # TRAMPOLINE in smp.rs

    .section .rodata.trampoline, "a"
    .balign 16
    .global trampoline_start
trampoline_start:
    .code16
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl BASE + trampoline_gdt_pointer - trampoline_start
    movl $0x620, %eax                   # OSXMMEXCPT, OSFXSR (SSE instructions may be executed), PAE
    movl %eax, %cr4
    movl BASE + trampoline_cr3 - trampoline_start, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER
    rdmsr
    orl $0x100, %eax                    # LME
    wrmsr
    movl $0x80000033, %eax              # PG, NE, ET, MP, PE; caches on
    movl %eax, %cr0
    ljmpl $0x08, $(BASE + 1f - trampoline_start)

    .code64
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq BASE + trampoline_stack - trampoline_start, %rsp
    movq BASE + trampoline_cpu - trampoline_start, %rdi
    movq BASE + trampoline_entry - trampoline_start, %rax
    xorl %ebp, %ebp
    call *%rax
2:  cli
    hlt
    jmp 2b

    .balign 8
    .global trampoline_cr3, trampoline_stack, trampoline_cpu, trampoline_entry, trampoline_end
trampoline_cr3:
    .quad 0
trampoline_stack:
    .quad 0
trampoline_cpu:
    .quad 0
trampoline_entry:
    .quad 0
trampoline_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
trampoline_gdt_pointer:
    .word . - trampoline_gdt - 1
    .long BASE + trampoline_gdt - trampoline_start
trampoline_end:
