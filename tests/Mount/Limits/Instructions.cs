using System.Diagnostics;
using System.Globalization;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>Counts the instructions that processes execute, where <c>perf</c> is installed and the machine counts them (many virtual ones do not).</summary>
internal sealed class Instructions : IDisposable
{
    private readonly Process? perf;

    private Instructions(Process? perf) => this.perf = perf;

    public static Instructions Of(params int[] pids)
    {
        if (!File.Exists("/usr/bin/perf"))
        {
            return new Instructions(null);
        }
        string list = string.Join(',', pids.Select(pid => pid.ToString(CultureInfo.InvariantCulture)));
        return new Instructions(Process.Start(new ProcessStartInfo("/usr/bin/perf", ["stat", "-x", ";", "-e", "instructions", "-p", list]) { RedirectStandardError = true }));
    }

    /// <summary>Ends the counting; null when nothing was counted.</summary>
    public long? Stop()
    {
        if (perf is null)
        {
            return null;
        }
        Cli.Signals.Send(perf.Id, Cli.Signals.Interrupt);
        string[] fields = perf.StandardError.ReadToEnd().Split(';');
        perf.WaitForExit();
        return fields.Length > 2 && long.TryParse(fields[0], CultureInfo.InvariantCulture, out long count) ? count : null;
    }

    public void Dispose()
    {
        if (perf is { HasExited: false })
        {
            perf.Kill();
        }
        perf?.Dispose();
    }
}
