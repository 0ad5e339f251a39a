namespace EphemeralFs.Hosting;

/// <summary>Something that stops a command before it began, in one line that also says what to do about it.</summary>
/// <remarks>Printed without a stack trace; <c>EPHEMERALFS_DEBUG=1</c> adds it.</remarks>
public sealed class StartupException : Exception
{
    /// <summary>A failure with <see cref="ExitCodes.Failure"/>.</summary>
    public StartupException(string message)
        : this(message, ExitCodes.Failure)
    {
    }

    /// <summary>A failure with its cause.</summary>
    public StartupException(string message, Exception inner)
        : base(message, inner) => ExitCode = ExitCodes.Failure;

    /// <summary>A failure with an exit code.</summary>
    public StartupException(string message, int exitCode)
        : base(message) => ExitCode = exitCode;

    /// <summary>Of the process.</summary>
    public int ExitCode { get; }

    /// <summary>The command line, the environment or the file is wrong: exit code 2.</summary>
    public static StartupException Usage(string message) => new(message, ExitCodes.Usage);
}

/// <summary>Exit codes of the program.</summary>
public static class ExitCodes
{
    public const int Success = 0;

    /// <summary>The command could not do what was asked.</summary>
    public const int Failure = 1;

    /// <summary>The command line, the environment or the configuration file is wrong.</summary>
    public const int Usage = 2;
}
