using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Bench.Measure;

namespace EphemeralFs.Bench.Rows;

/// <summary>The worker processes of a metadata group. They start each step together, on a line.</summary>
internal sealed class Crew : IDisposable
{
    private readonly List<Process> _workers = [];

    /// <param name="directories">One for each process.</param>
    /// <param name="arguments">For every worker, besides its directory.</param>
    public Crew(IEnumerable<string> directories, params string[] arguments)
    {
        foreach (string directory in directories)
        {
            var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardInput = true, RedirectStandardOutput = true };
            foreach (string argument in (string[])["metadata-worker", "--directory", directory, .. arguments])
            {
                start.ArgumentList.Add(argument);
            }

            _workers.Add(Process.Start(start)!);
        }
    }

    /// <summary>Lets all do one step; the time is from the first start to the last end.</summary>
    /// <param name="step">Of <see cref="MetadataLoops.Steps"/>.</param>
    /// <param name="window">Opened when all are ready.</param>
    /// <param name="beforeStart">Called when all are ready.</param>
    public Outcome Do(string step, CpuWindow window, Action beforeStart)
    {
        bool ready = Tell(step).All(answer => answer[0] == "ready");
        if (ready)
        {
            beforeStart();
        }

        window.Open();
        List<string[]> answers = Tell("go");
        window.Close();
        string[]? failed = answers.Find(answer => answer[0] != "done");
        if (!ready || failed is not null)
        {
            throw new BenchException(failed is null ? "a worker was not ready" : string.Join(' ', failed[1..]));
        }

        long wall = answers.Max(answer => Long(answer[2])) - answers.Min(answer => Long(answer[1]));
        return Outcome.Rate(answers.Sum(answer => Long(answer[3])), wall) with { ProgramCpuSeconds = answers.Sum(answer => Long(answer[4])) / 1e9 };
    }

    public void Dispose()
    {
        foreach (Process worker in _workers)
        {
            worker.StandardInput.Close();
            if (!worker.WaitForExit(10_000))
            {
                worker.Kill();
            }

            worker.Dispose();
        }
    }

    private static long Long(string text) => long.Parse(text, CultureInfo.InvariantCulture);

    private List<string[]> Tell(string line)
    {
        foreach (Process worker in _workers)
        {
            worker.StandardInput.WriteLine(line);
            worker.StandardInput.Flush();
        }

        return [.. _workers.Select(worker => (worker.StandardOutput.ReadLine() ?? "failed the worker ended").Split(' '))];
    }
}
