# Entry by PVH: 32-bit protected mode, paging off, EBX = hvm_start_info. Leaves in 64-bit mode, the first 4 GiB mapped
# at their physical addresses by 2 MiB pages.

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18                      # length of the name, of the value, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start32

    .section .text.boot, "ax"
    .code32
    .global pvh_start32
pvh_start32:
    cli
    cld
    movl $bss_start, %edi               # loaders need not clear .bss
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    movl $boot_pdpt + 3, boot_pml4      # 3: present, writable
    movl $boot_pd + 3, %eax
    movl $boot_pdpt, %edi
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b
    movl $0x83, %eax                    # 0x80: 2 MiB page
    movl $boot_pd, %edi
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    cmpl $0xc0000083, %eax              # the uppermost GiB below 4 GiB is devices: uncached
    jne 3f
    orl $0x18, %eax
3:  addl $8, %edi
    loop 2b
    movl $0x620, %eax                   # OSXMMEXCPT, OSFXSR (SSE instructions may be executed), PAE
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER
    rdmsr
    orl $0x100, %eax                    # LME
    wrmsr
    movl $0x80000023, %eax              # PG, NE, MP, PE
    movl %eax, %cr0
    lgdtl boot_gdt_pointer
    ljmpl $0x08, $start64

    .code64
start64:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $boot_stack_top, %esp
    movl %ebx, %edi
    xorl %ebp, %ebp
    call kernel_entry

# Interrupts come while `wait` waits, which gives up every register that a Rust function may change.
    .global interrupt_stub_0, interrupt_stub_1
interrupt_stub_0:
    movl $0x40, %edi
    jmp 1f
interrupt_stub_1:
    movl $0x41, %edi
1:  subq $8, %rsp                       # five words were pushed onto an aligned stack
    call device_interrupt
    addq $8, %rsp
    iretq

    .section .rodata.boot, "a"
    .balign 16
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 0x08: 64-bit code
    .quad 0x00cf93000000ffff            # 0x10: data
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .long boot_gdt

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4 * 4096
    .skip 64 * 1024
    .balign 16
boot_stack_top:
