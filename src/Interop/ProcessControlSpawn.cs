using System.Collections;
using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;

namespace EphemeralFs.Interop;

/// <summary>Starts a process in a session of its own, with clean signals, that nothing ties to the life of its parent.</summary>
/// <remarks>
/// <c>posix_spawn(3)</c> and not System.Diagnostics.Process: the child must not receive the terminal's Ctrl-C, must not inherit
/// ignored signals, and the caller reaps it by itself because it may have to give up on a process that hangs in the kernel.
/// </remarks>
public static unsafe partial class ProcessControlSpawn
{
    private const short POSIX_SPAWN_SETSIGDEF = 0x04;
    private const short POSIX_SPAWN_SETSIGMASK = 0x08;
    private const short POSIX_SPAWN_SETSID = 0x80;

    // glibc: posix_spawnattr_t 336, posix_spawn_file_actions_t 80, sigset_t 128 bytes; musl's are smaller or equal.
    private const int OpaqueBytes = 512;

    /// <summary>Starts a program; standard input is /dev/null, output and error are ours, every other descriptor is close-on-exec.</summary>
    /// <param name="command">Program (looked for in PATH when it has no slash) and arguments.</param>
    /// <param name="pid">The child; the caller reaps it with <see cref="ProcessControl.TryReap"/>.</param>
    /// <returns>ENOENT, EACCES, ENOMEM, E2BIG and what else <c>execve(2)</c> says; EINVAL for an empty command.</returns>
    public static Errno Start(IReadOnlyList<string> command, out int pid)
    {
        pid = 0;
        if (command.Count == 0 || command[0].Length == 0)
        {
            return Errno.EINVAL;
        }

        var environment = new List<string>();
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            environment.Add($"{variable.Key}={variable.Value}");
        }

        var attributes = stackalloc ulong[OpaqueBytes / sizeof(ulong)];
        var actions = stackalloc ulong[OpaqueBytes / sizeof(ulong)];
        var signals = stackalloc ulong[OpaqueBytes / sizeof(ulong)];
        byte** arguments = null;
        byte** variables = null;
        var error = AttributesInit(attributes);
        if (error != 0)
        {
            return (Errno)error;
        }

        error = ActionsInit(actions);
        if (error != 0)
        {
            _ = AttributesDestroy(attributes);
            return (Errno)error;
        }

        try
        {
            arguments = Strings(command);
            variables = Strings(environment);
            _ = SigEmptySet(signals);
            Check(AttributesSetMask(attributes, signals));
            for (var signal = 1; signal <= 31; signal++)
            {
                if (signal is not ProcessControl.SigKill and not 19)
                {
                    _ = SigAddSet(signals, signal);
                }
            }

            Check(AttributesSetDefault(attributes, signals));
            Check(AttributesSetFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID));
            Check(ActionsAddOpen(actions, 0, "/dev/null", 0, 0));
            return (Errno)SpawnP(out pid, arguments[0], actions, attributes, arguments, variables);
        }
        finally
        {
            Free(arguments);
            Free(variables);
            _ = ActionsDestroy(actions);
            _ = AttributesDestroy(attributes);
        }
    }

    private static void Check(int error)
    {
        // Only a bug or a lack of memory makes these fail.
        if (error != 0)
        {
            throw new IOException($"posix_spawn attributes: {(Errno)error}");
        }
    }

    private static byte** Strings(IReadOnlyList<string> values)
    {
        var array = (byte**)NativeMemory.AllocZeroed((nuint)(values.Count + 1), (nuint)sizeof(byte*));
        for (var i = 0; i < values.Count; i++)
        {
            var bytes = Encoding.UTF8.GetBytes(values[i]);
            array[i] = (byte*)NativeMemory.Alloc((nuint)(bytes.Length + 1));
            bytes.CopyTo(new Span<byte>(array[i], bytes.Length));
            array[i][bytes.Length] = 0;
        }

        return array;
    }

    private static void Free(byte** array)
    {
        for (var i = 0; array != null && array[i] != null; i++)
        {
            NativeMemory.Free(array[i]);
        }

        NativeMemory.Free(array);
    }

    [LibraryImport("libc", EntryPoint = "posix_spawnp")]
    private static partial int SpawnP(out int pid, byte* file, void* actions, void* attributes, byte** arguments, byte** environment);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_init")]
    private static partial int AttributesInit(void* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_destroy")]
    private static partial int AttributesDestroy(void* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setflags")]
    private static partial int AttributesSetFlags(void* attributes, short flags);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigmask")]
    private static partial int AttributesSetMask(void* attributes, void* signals);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigdefault")]
    private static partial int AttributesSetDefault(void* attributes, void* signals);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_init")]
    private static partial int ActionsInit(void* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_destroy")]
    private static partial int ActionsDestroy(void* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_addopen", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ActionsAddOpen(void* actions, int fd, string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "sigemptyset")]
    private static partial int SigEmptySet(void* signals);

    [LibraryImport("libc", EntryPoint = "sigaddset")]
    private static partial int SigAddSet(void* signals, int signal);
}
