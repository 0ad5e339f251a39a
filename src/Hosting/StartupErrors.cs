using System.Net.Sockets;

namespace EphemeralFs.Hosting;

/// <summary>Turns whatever stopped a command into one line for the person who typed it.</summary>
public static class StartupErrors
{
    /// <summary>Ask for stack traces.</summary>
    public const string DebugVariable = "EPHEMERALFS_DEBUG";

    /// <summary>Writes the line (and with <c>EPHEMERALFS_DEBUG=1</c> the stack trace) to standard error and gives the exit code.</summary>
    public static int Report(Exception error)
    {
        error = Unwrap(error);
        Console.Error.WriteLine($"ephemeralfs: {Describe(error)}");
        if (Environment.GetEnvironmentVariable(DebugVariable) is "1")
        {
            Console.Error.WriteLine(error);
        }

        return error is StartupException startup ? startup.ExitCode : ExitCodes.Failure;
    }

    /// <summary>One line, with what to do where that is known.</summary>
    public static string Describe(Exception error)
    {
        error = Unwrap(error);
        var text = error switch
        {
            StartupException => error.Message,
            SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse } =>
                $"{error.Message}: the address is in use; stop the other process or choose another with --listen",
            SocketException { SocketErrorCode: SocketError.AccessDenied } =>
                $"{error.Message}: not allowed to listen there; choose another address with --listen",
            SocketException { SocketErrorCode: SocketError.AddressNotAvailable } =>
                $"{error.Message}: no such address on this machine; choose another with --listen",
            UnauthorizedAccessException => $"{error.Message} Run as a user who may, or choose another path.",
            DirectoryNotFoundException => $"{error.Message} Create the directory first.",
            _ => error.Message,
        };
        return text.ReplaceLineEndings(" ");
    }

    private static Exception Unwrap(Exception error)
    {
        while (error is AggregateException { InnerExceptions.Count: 1 } or System.Reflection.TargetInvocationException)
        {
            error = error.InnerException!;
        }

        return error;
    }
}
