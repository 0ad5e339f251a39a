using System.Text;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting;

namespace EphemeralFs.Hosting.Logging;

/// <summary>Appends each event to a file in one write, so that a killed process leaves whole lines.</summary>
internal sealed class FileSink : ILogEventSink, IDisposable
{
    private readonly ITextFormatter _formatter;
    private readonly FileStream _file;
    private readonly Lock _lock = new(); // guards _file

    internal FileSink(string path, ITextFormatter formatter)
    {
        _formatter = formatter;
        _file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
    }

    public void Emit(LogEvent logEvent)
    {
        var text = new StringWriter();
        _formatter.Format(logEvent, text);
        var bytes = Encoding.UTF8.GetBytes(text.ToString());
        lock (_lock)
        {
            _file.Write(bytes);
        }
    }

    public void Dispose() => _file.Dispose();
}
