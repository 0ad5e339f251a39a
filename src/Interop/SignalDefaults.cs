using System.Runtime.InteropServices;

namespace EphemeralFs.Interop;

/// <summary>Takes back that a signal is ignored.</summary>
public static partial class SignalDefaults
{
    private const int SIGINT = 2;

    /// <summary>
    /// A shell without job control starts background commands with SIGINT ignored, and the runtime leaves ignored signals alone: before it
    /// has looked, this makes SIGINT work again for a command that must clean up behind it.
    /// </summary>
    public static void AcceptInterrupt() => _ = Signal(SIGINT, 0); // SIG_DFL; cannot fail for SIGINT

    [LibraryImport("libc", EntryPoint = "signal", SetLastError = true)]
    private static partial nint Signal(int signal, nint handler);
}
