using System.Runtime.InteropServices;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Wakes a thread out of a blocking system call: sigaction(2), gettid(2), tgkill(2).</summary>
/// <remarks>
/// The signal's handler is a function of libc itself (<c>getpid</c>: async-signal-safe, does nothing), never managed code, and is installed
/// without SA_RESTART, so that a blocked read(2) returns EINTR. Runtime and glibc use other real-time signals (32 to 34).
/// </remarks>
public static unsafe partial class ThreadSignals
{
    /// <summary>The real-time signal used for wake-ups.</summary>
    public const int WakeSignal = 42;

    private static readonly Lock Gate = new();
    private static bool s_installed;

    /// <summary>The calling thread's kernel id.</summary>
    public static int CurrentThreadId => gettid();

    /// <summary>Installs the empty handler once per process.</summary>
    public static Errno Install()
    {
        lock (Gate)
        {
            if (s_installed)
            {
                return Errno.OK;
            }
            nint libc = NativeLibrary.Load("libc", typeof(ThreadSignals).Assembly, null);
            var action = new SigAction { Handler = NativeLibrary.GetExport(libc, "getpid") };
            if (sigaction(WakeSignal, &action, null) != 0)
            {
                return (Errno)Marshal.GetLastPInvokeError();
            }
            s_installed = true;
            return Errno.OK;
        }
    }

    /// <summary>Sends the wake-up to one thread of this process. A system call that it enters later is not interrupted: repeat until it has ended.</summary>
    public static Errno Wake(int threadId) =>
        tgkill(getpid(), threadId, WakeSignal) == 0 ? Errno.OK : (Errno)Marshal.GetLastPInvokeError();

    /// <summary>glibc's <c>struct sigaction</c> on 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 152)]
    private struct SigAction
    {
        [FieldOffset(0)] public nint Handler;
        [FieldOffset(136)] public int Flags;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int sigaction(int signal, SigAction* action, SigAction* old);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int tgkill(int process, int thread, int signal);

    [LibraryImport("libc")]
    private static partial int gettid();

    [LibraryImport("libc")]
    private static partial int getpid();
}
