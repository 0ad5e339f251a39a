using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Measure;

/// <summary>The CPU that program, client and servers used between <see cref="Open"/> and <see cref="Close"/>; several windows add up.</summary>
internal sealed class CpuWindow(CpuMeter client, CpuMeter server)
{
    private double _clientStart;
    private double _serverStart;
    private long _programStart;

    public double ProgramSeconds { get; private set; }

    public double ClientSeconds { get; private set; }

    public double ServerSeconds { get; private set; }

    /// <summary>Starts counting and returns the time (nanoseconds), so that the two are taken together.</summary>
    public long Open()
    {
        _clientStart = client.Seconds();
        _serverStart = server.Seconds();
        _programStart = Sys.ProcessCpu();
        return Sys.Now();
    }

    /// <summary>Stops counting and returns the time (nanoseconds).</summary>
    public long Close()
    {
        long now = Sys.Now();
        ProgramSeconds += (Sys.ProcessCpu() - _programStart) / 1e9;
        ClientSeconds += client.Seconds() - _clientStart;
        ServerSeconds += server.Seconds() - _serverStart;
        return now;
    }
}
