using System.Globalization;
using EphemeralFs.Hosting.Options;
using Serilog;
using Serilog.Events;
using Serilog.Formatting;
using Serilog.Formatting.Display;

namespace EphemeralFs.Hosting.Logging;

/// <summary>Makes the logger of a process: people's lines on a terminal, JSON otherwise; standard output stays free for results.</summary>
public static class RoleLogging
{
    private const string Template = "{Timestamp:HH:mm:ss.fff} {Level:u3} {Role}: {Message:lj}{NewLine}{Exception}";

    /// <summary>A logger as the common options ask for; disposing it flushes.</summary>
    /// <param name="role">In each event, as property <c>Role</c>.</param>
    /// <param name="options">With the options of <see cref="CommonOptions"/>.</param>
    public static Serilog.Core.Logger Create(string role, RoleOptions options)
    {
        var level = Enum.Parse<LogEventLevel>(options.Text(CommonOptions.LogLevel.Name), ignoreCase: true);
        var file = options.Path(CommonOptions.LogFile.Name);
        var text = options.Text(CommonOptions.LogFormat.Name) switch
        {
            "text" => true,
            "json" => false,
            _ => file.Length == 0 && !Console.IsErrorRedirected,
        };
        ITextFormatter formatter = text ? new MessageTemplateTextFormatter(Template, CultureInfo.InvariantCulture) : new CompactJsonFormatter();
        var configuration = new LoggerConfiguration().MinimumLevel.Is(level).Enrich.WithProperty("Role", role);
        if (!text)
        {
            configuration = configuration.Enrich.WithProperty("Pid", Environment.ProcessId);
        }

        configuration = file.Length > 0
            ? configuration.WriteTo.Sink(new FileSink(file, formatter))
            : configuration.WriteTo.Console(formatter, standardErrorFromLevel: LogEventLevel.Verbose);
        return configuration.CreateLogger();
    }
}
