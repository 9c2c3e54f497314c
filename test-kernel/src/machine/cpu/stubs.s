# 256 entry points of 16 bytes each, and what they share.
#
# Every gate has an interrupt stack (IST), so the red zone of interrupted code is safe, and stubs need no
# swapgs: GS points to the CPU's own data in ring 3 too.
#
# Where the target's functions may use the XMM registers (`keep_xmm` is 1, see idt.rs), all sixteen are kept: whatever
# was interrupted may have values in them, and the ABI lets a Rust function clobber each. MXCSR is not kept, since
# nothing here changes its control bits or reads its status bits; x87 and MMX are not, since Rust does not use them.

    .macro push_xmm
    .if {keep_xmm}
    subq $256, %rsp
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps %xmm\number, 16 * \number(%rsp)
    .endr
    .endif
    .endm

    .macro pop_xmm
    .if {keep_xmm}
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps 16 * \number(%rsp), %xmm\number
    .endr
    addq $256, %rsp
    .endif
    .endm

    .section .text.stubs, "ax"
    .balign 16
    .global interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    # Vectors for which the CPU itself pushes an error code.
    .if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
    pushq $0
    .endif
    pushq $vector
    .if vector >= 31
    jmp device_entry
    .else
    jmp exception_entry
    .endif
    .set vector, vector + 1
    .endr

# Device interrupts and IPIs: only what a Rust function may clobber is kept.
device_entry:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    movq 72(%rsp), %rdi                 # the vector
    push_xmm                            # 16-byte aligned: 5 + 2 + 9 words below an aligned stack
    call device_interrupt
    pop_xmm
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

# Exceptions: everything is kept, in the order of TrapFrame.
exception_entry:
    cld
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    movq %rsp, %rbp                     # kept by the callee
    andq $-16, %rsp
    push_xmm
    call exception
    pop_xmm
    movq %rbp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

# fn usermode_enter(code: u64, argument: u64, rflags: u64, stack_top: u64) -> UserExit
# The kernel's stack pointer is kept at GS:8, which is 0 otherwise; usermode_leave, called by exception(), comes back
# through it.
    .global usermode_enter
usermode_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    movq %rsp, %gs:8
    pushq $0x1b                         # SS: data, ring 3
    pushq %rcx
    pushq %rdx
    pushq $0x23                         # CS: 64-bit code, ring 3
    pushq $1f
    iretq
1:  movq %rdi, %rax
    movq %rsi, %rdi
    xorl %ebp, %ebp
    call *%rax
    int $4                              # the one gate that ring 3 may use
    ud2

# fn usermode_leave(how: u64, value: u64) -> !
    .global usermode_leave
usermode_leave:
    movq %rdi, %rax
    movq %rsi, %rdx
    movq %gs:8, %rsp
    movq $0, %gs:8
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
